"""What a user writes, and how each form of it becomes the one form that the pipeline runs."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from rpcb_trio._cache import Cache
from rpcb_trio._messages import Outcome, Pieces
from rpcb_trio._parts import Step, with_infer
from rpcb_trio._typed import Typed, is_async, typed_of, typed_stream_of
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")

LIKE_A_VERSION = "2026-11"

LONGEST_VERSION = 100
"""Characters of a model's version: it is in every reply, and a label of metrics."""

LONGEST_SHORT_STRING = 255
"""Bytes that AMQP allows a content type."""

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

    def placed(self, device: str | None) -> BoundService:
        """The service for a replica on `device`; the same one where it has no `on_device`."""
        if device is None or self.on_device is None:
            return self
        return replace(bind_again(self.on_device(device)), name=self.name)


TypedFunction: TypeAlias = Callable[[Any], Any] | Callable[[Any, Any], Any]
"""A function whose annotations say what it takes and returns; a second parameter is for `RequestInfo`s."""


class TypedService(Protocol):
    """An object whose `infer` has such annotations, in the place of `decode`, `encode`, or both."""

    @property
    def infer(self) -> TypedFunction:
        """A method."""


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


def bind(target: Any) -> BoundService:
    """Accept a service, a class of one (or a `functools.partial` of that), or a plain function.

    A public method whose name resembles that of an optional hook is named in a warning: it is never called.

    Raises:
        SettingError: it is none of these; the message says what it lacks.
    """
    bound = bind_again(target)
    if bound is not target and _has_hooks(target):
        for name, hook in _near_misses(target):
            log.warning("%s.%s is never called; did you mean %s?", bound.name, name, hook)
    return bound


def bind_again(target: Any) -> BoundService:
    """As `bind`, without warnings, for a service that was bound before or elsewhere."""
    if isinstance(target, BoundService):
        return target
    service = _instance(target)
    name = name_of(service)
    if _has_hooks(service):
        hooks = {hook: getattr(service, hook) for hook in _HOOKS if hasattr(service, hook)}
        hooks["cache"] = _own_cache(hooks.get("cache"), name)
        bound = _bound(name, hooks, f"{name}.infer", _did_you_mean_of(service))
        _refuse_content_type(bound.content_type, name)
        check_version(f"{name}.version", bound.version)
        return bound
    if callable(service):
        if _is_generator(service):
            return _bound_stream(name, {"stream_infer": service})
        return _bound(name, {"infer": service}, name)
    raise SettingError(
        f"{name} is not a service: give an object with decode, infer and encode, a class that makes one, "
        "a function from list[bytes] to list[bytes], or one whose annotations say what it takes and returns"
        f"{_did_you_mean(service, 'infer')}"
    )


def _bound(
    name: str, hooks: dict[str, Any], infer_name: str, hint: Callable[[str], str] | None = None
) -> BoundService:
    """Check the hooks, and have what follows from the annotations of `infer`."""
    if hooks.get("infer") is None and hooks.get("stream_infer") is not None:
        return _bound_stream(name, hooks, hint)
    infer = hooks["infer"]
    is_object = hint is not None
    for hook, function in hooks.items():
        if hook in _ARGUMENTS and function is not None:
            may_await = hook in _ASYNC and is_async(infer)
            hook_name = infer_name if hook == "infer" else f"{name}.{hook}"
            may_yield = hook == "stream_infer"
            _refuse_no_function(function, hook_name, may_await=may_await, may_yield=may_yield)
    if not callable(infer):
        raise _incomplete(name, "infer", hint)
    stream_infer = hooks.get("stream_infer")
    typed = typed_of(
        infer,
        infer_name,
        reads=hooks.get("decode") is None,
        writes=hooks.get("encode") is None,
        stream_infer=stream_infer,
    )
    for hook, is_said in (("decode", typed.says_item), ("encode", typed.says_result)):
        if is_object and not callable(hooks.get(hook)) and not is_said:
            raise _incomplete(name, hook, hint)
    _refuse_signature(infer, infer_name, "items" if is_object else "bodies", typed.asks)
    for hook, function in hooks.items():
        if hook in _ARGUMENTS and hook != "infer" and function is not None:
            asks = typed.stream_asks if hook == "stream_infer" else None
            _refuse_signature(function, f"{name}.{hook}", _ARGUMENTS[hook], asks)
    hooks = {**hooks, "infer": typed.calling(infer)}
    if stream_infer is not None:
        hooks["stream_infer"] = typed.streaming_beside(stream_infer)
    hooks = with_infer(hooks, joins_bytes=typed.result is None)
    return BoundService(
        name=name,
        **hooks,
        typed=typed if typed.has_effect else None,
        is_async=is_async(infer),
    )


def _bound_stream(name: str, hooks: dict[str, Any], hint: Callable[[str], str] | None = None) -> BoundService:
    """A service without an `infer`: its parts are joined where they are wanted whole."""
    stream_infer = hooks["stream_infer"]
    stream_name = name if hint is None else f"{name}.stream_infer"
    for hook, function in hooks.items():
        if hook in _ARGUMENTS and function is not None:
            hook_name = stream_name if hook == "stream_infer" else f"{name}.{hook}"
            _refuse_no_function(function, hook_name, may_await=False, may_yield=hook == "stream_infer")
    typed = typed_stream_of(
        stream_infer,
        stream_name,
        reads=hooks.get("decode") is None,
        writes=hooks.get("encode") is None,
        joins=hooks.get("join") is not None,
    )
    for hook, is_said in (("decode", typed.says_item), ("encode", typed.says_result)):
        if hint is not None and not callable(hooks.get(hook)) and not is_said:
            raise _incomplete(name, hook, hint, "stream_infer")
    for hook, function in hooks.items():
        if hook in _ARGUMENTS and function is not None:
            streams = hook == "stream_infer"
            hook_name = stream_name if streams else f"{name}.{hook}"
            argument = "bodies" if hint is None else _ARGUMENTS[hook]
            _refuse_signature(function, hook_name, argument, typed.asks if streams else None)
    hooks = {**hooks, "stream_infer": typed.streaming(stream_infer)}
    return BoundService(
        name=name,
        streams_only=True,
        typed=typed if typed.has_effect else None,
        **with_infer(hooks, joins_bytes=typed.result is None),
    )


def name_of(service: Any) -> str:
    """The name of a service, whatever form it has."""
    if isinstance(service, BoundService):
        return service.name
    if isinstance(service, partial):
        service = service.func
    return str(getattr(service, "__name__", type(service).__name__))


_HOOKS = (
    *("decode", "infer", "encode", "stream_infer", "join"),
    *("cost", "warm_up", "on_device", "close", "content_type", "version", "cache"),
)
_ARGUMENTS = {
    "decode": "body",
    "infer": "items",
    "encode": "outcome",
    "cost": "item",
    "warm_up": "",
    "on_device": "device",
    "close": "",
    "stream_infer": "items",
    "join": "results",
}
"""What each hook is called with."""

_ASYNC = ("infer", "warm_up", "close")
"""Hooks that may be async, where `infer` is."""

_ALIASES = {
    "warmup": "warm_up",
    "setup": "warm_up",
    "startup": "warm_up",
    "loadmodel": "warm_up",
    "initialize": "warm_up",
    "ondevice": "on_device",
    "ondevices": "on_device",
    "todevice": "on_device",
    "contenttype": "content_type",
    "modelversion": "version",
    "caching": "cache",
    "replycache": "cache",
    "teardown": "close",
    "shutdown": "close",
    "unload": "close",
    "costs": "cost",
    "getcost": "cost",
    "predict": "infer",
    "inference": "infer",
    "forward": "infer",
    "preprocess": "decode",
    "postprocess": "encode",
    "streaminfer": "stream_infer",
    "inferstream": "stream_infer",
    "stream": "stream_infer",
    "streampredict": "stream_infer",
}
"""Names of hooks in other servers, lower case and without underscores, and ours."""


def _instance(target: Any) -> Any:
    if isinstance(target, partial) and inspect.isclass(target.func):
        return target()
    if not inspect.isclass(target):
        return target
    try:
        inspect.signature(target).bind()
    except TypeError as error:
        raise SettingError(
            f"the class {target.__name__} can't be made without arguments ({error}); "
            "give an instance of it instead"
        ) from error
    except ValueError:  # some written in C have no signature
        pass
    return target()


def _has_hooks(service: Any) -> bool:
    return hasattr(service, "infer") or getattr(service, "stream_infer", None) is not None


def _incomplete(
    name: str, hook: str, hint: Callable[[str], str] | None, infer: str = "infer"
) -> SettingError:
    remedy = "" if hook == infer else f", or annotations of {infer} that say what it takes and returns"
    return SettingError(
        f"the service {name} has no method {hook}; it needs decode, {infer} and encode{remedy}"
        f"{'' if hint is None else hint(hook)}"
    )


def _near_misses(service: Any) -> list[tuple[str, str]]:
    """Public names that resemble hooks which the service does not have, each with the hook's name."""
    names = [name for name in dir(service) if not name.startswith("_")]
    hooks = [(name, _ALIASES.get(name.lower().replace("_", ""), name)) for name in names]
    return [(name, hook) for name, hook in hooks if hook not in names]


def _did_you_mean_of(service: Any) -> Callable[[str], str]:
    return partial(_did_you_mean, service)


def _did_you_mean(service: Any, missing: str) -> str:
    found = [name for name, hook in _near_misses(service) if hook == missing]
    return f"; should {found[0]} be named {missing}?" if found else ""


def _refuse_no_function(function: Any, name: str, *, may_await: bool, may_yield: bool = False) -> None:
    if not callable(function):
        raise SettingError(f"{name} is of type {type(function).__name__}; hooks must be plain functions")
    for each in _called(function):
        if inspect.isasyncgenfunction(each) or (inspect.iscoroutinefunction(each) and not may_await):
            raise SettingError(
                f"{name} is async; hooks run in threads and must be plain functions. infer may be async, and "
                "then warm_up and close, too"
            )
    if _is_generator(function) and not may_yield:
        remedy = "name it stream_infer" if name.endswith(".infer") else "let it return what it yields"
        raise SettingError(f"{name} is a generator; hooks must be plain functions, so {remedy}")


def _is_generator(function: Any) -> bool:
    return any(map(inspect.isgeneratorfunction, _called(function)))


def _called(function: Any) -> tuple[Any, Any]:
    """What runs where it is called: itself, or the method of an object."""
    return function, getattr(function, "__call__", None)  # noqa: B004 - of an object that is called


def _refuse_signature(function: Any, name: str, argument: str, more: str | None = None) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(*[argument] * bool(argument), **({} if more is None else {more: more}))
    except TypeError as error:
        remedy = "let it take that one argument" if argument else "let it take no arguments"
        raise SettingError(f"{name} can't be called as {name}({argument}): {error}; {remedy}") from error


def _refuse_content_type(content_type: Any, name: str) -> None:
    if not isinstance(content_type, str) or len(content_type.encode()) > LONGEST_SHORT_STRING:
        raise SettingError(f"{name}.content_type is {content_type!r}; give a MIME type, as application/json")


def _own_cache(cache: Any, name: str) -> Cache | None:
    """A service's `Cache`; what else it may call so, as a dictionary of its own, is none of ours."""
    if isinstance(cache, int | float | str) or cache is Cache:
        raise SettingError(f"{name}.cache is {cache!r}; give rpcb_trio.Cache(ttl=60), say")
    return cache if isinstance(cache, Cache) else None


def check_version(setting: str, version: object) -> None:
    """Accept None, which says that there is none.

    Raises:
        SettingError: it is no text that a header of AMQP and of HTTP can carry.
    """
    if version is None:
        return
    if not isinstance(version, str):
        raise SettingError(f"{setting} is {version!r}; give text, as '{LIKE_A_VERSION}'")
    if not (version.isascii() and version.isprintable() and version == version.strip()):
        raise SettingError(f"{setting} is {version!r}; use printable ASCII, as in '{LIKE_A_VERSION}'")
    if not 0 < len(version) <= LONGEST_VERSION:
        raise SettingError(
            f"{setting} has {len(version)} characters; give 1 to {LONGEST_VERSION}, as '{LIKE_A_VERSION}'"
        )
