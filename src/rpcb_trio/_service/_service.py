"""What a user writes, in each of its forms, and the one form that the pipeline runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from rpcb_trio._cache import Cache
from rpcb_trio._messages import Outcome, Pieces
from rpcb_trio._parts import Step
from rpcb_trio._typed import Typed

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
PartT = TypeVar("PartT")


@runtime_checkable
class Service(Protocol[ItemT, ResultT]):
    """A model behind a queue, as three hooks.

    Optional members, looked up by name:

    - `cost(item) -> float`: how much work an item is, in a unit of your own (seconds of audio, tokens).
    - `join(results: list) -> result`: makes one result of those of a request in pieces (see `Pieces`).
    - `warm_up() -> None`: runs once per replica, in its thread, before the first delivery.
    - `on_device(device: str) -> Service`: returns the service for one replica, where devices are set.
    - `content_type: str`: of the replies; `application/octet-stream` if left out.
    - `version: str`: of the model, for the replies' header `rpcb-model-version`, metrics, events and the log.
    - `stream_infer`: see `StreamingService`.
    - `cache: Cache`: how long the reply to a request answers equal ones, too; see `Cache`.
    - `close() -> None`: frees what `warm_up` has loaded; runs once per replica, in its thread, when another
      version has taken its place (see `Worker.swap`).
    """

    def decode(self, body: bytes) -> ItemT | Pieces[ItemT]:
        """Turn one request's body into an item. It is called for each message, in a worker thread.

        Whatever it raises fails this request alone.
        """
        ...

    def infer(self, items: list[ItemT]) -> Sequence[ResultT | Exception]:
        """Compute a whole batch, in the executor's own thread.

        It is called under `torch.inference_mode` where torch is loaded. It returns one result for each item,
        in order; an exception among them fails its request alone. If it raises, the batch is split until the
        bad item is alone.
        """
        ...

    def encode(self, outcome: Outcome[ResultT]) -> bytes:
        """Turn one outcome, a `Success` or a `Failure`, into a reply's body, in a worker thread."""
        ...


@runtime_checkable
class StreamingService(Protocol[ItemT, PartT]):
    """A model whose replies may go out in parts.

    Optional members are those of a `Service`, and these:

    - `join(parts: list) -> result`: the whole result for `encode`, where the caller does not take parts.
      Without it each part is encoded, and the bodies are joined.
    - `infer(items) -> results`: computes a batch in which no caller takes parts; without it parts are joined.
    """

    def decode(self, body: bytes) -> ItemT:
        """As `Service.decode`."""
        ...

    def stream_infer(self, items: list[ItemT]) -> Iterator[Step[PartT]]:
        """Compute a batch step by step, in the executor's own thread.

        Each step is a map from the numbers of some items, counted from 0, to their next part, to an exception
        (it fails its request alone), or to `END`. What has not ended ends with the generator. A `yield`
        returns the numbers of the items that nobody waits for any more; parts for these are dropped. If it
        raises, the items that have not ended begin anew in smaller batches; parts that went out are skipped.
        """
        ...

    def encode(self, outcome: Outcome[PartT]) -> bytes:
        """As `Service.encode`, of each part, of a joined result, and of an error."""
        ...


PlainFunction: TypeAlias = Callable[[list[bytes]], Sequence[bytes | Exception]]
"""The shortest service: bodies in, bodies out, one for each."""

PlainStream: TypeAlias = Callable[[list[bytes]], Iterator[Step[bytes]]]
"""The shortest service that streams: bodies in, steps out (see `StreamingService.stream_infer`)."""

TypedFunction: TypeAlias = Callable[[Any], Any] | Callable[[Any, Any], Any]
"""A function whose annotations say what it takes and returns; a second parameter is for `RequestInfo`s."""


class TypedService(Protocol):
    """An object whose `infer` has such annotations, in the place of `decode`, `encode`, or both."""

    @property
    def infer(self) -> TypedFunction:
        """A method."""


@dataclass(frozen=True, kw_only=True)
class BoundService:
    """A service in the one form that the pipeline runs; a hook is None where there is none to call."""

    name: str
    infer: Callable[[list[Any]], Sequence[Any]]
    decode: Callable[[bytes], Any] | None = None
    encode: Callable[[Outcome[Any]], bytes] | None = None
    cost: Callable[[Any], float] | None = None
    warm_up: Callable[[], object] | None = None
    on_device: Callable[[str], Any] | None = None
    close: Callable[[], object] | None = None
    join: Callable[[list[Any]], Any] | None = None
    """There is one where there is a `stream_infer`."""
    stream_infer: Callable[[list[Any]], Any] | None = None
    streams_only: bool = False
    """Whether its `infer` is its `stream_infer`, joined."""
    content_type: str = "application/octet-stream"
    version: str | None = None
    typed: Typed | None = None
    """What follows from annotations, in the place of `decode` or `encode`; None where nothing does."""
    is_async: bool = False
    """Whether a call of `infer` is to be awaited."""
    cache: Cache | None = None


AnyService: TypeAlias = (
    Service[Any, Any]
    | type[Service[Any, Any]]
    | StreamingService[Any, Any]
    | type[StreamingService[Any, Any]]
    | partial[Any]
    | PlainFunction
    | PlainStream
    | TypedFunction
    | TypedService
    | type[TypedService]
    | BoundService
)
"""All that can be bound."""


def name_of(service: Any) -> str:
    """The name of a service, whatever form it has."""
    if isinstance(service, BoundService):
        return service.name
    if isinstance(service, partial):
        service = service.func
    return str(getattr(service, "__name__", type(service).__name__))
