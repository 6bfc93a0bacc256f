"""A typed `infer`, bound: how its bodies are read and written, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec

from rpcb_trio._messages import Failure, Outcome
from rpcb_trio._typed._annotations import Read, Says, asking_parameter, read, shown_type
from rpcb_trio._typed._calls import Call
from rpcb_trio._typed._kinds import Kind, kind_of, written
from rpcb_trio._typed._schemas import Schemas
from rpcb_trio.errors import InvalidRequest, OutcomeError, SettingError, without_path

JSON, MSGPACK = "application/json", "application/msgpack"
MSGPACKS = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})

LOCAL = "#/$defs/{name}"

_json = msgspec.json.Encoder(enc_hook=written("json"))
_msgpack = msgspec.msgpack.Encoder(enc_hook=written("python"))


@lru_cache(maxsize=256)
def is_msgpack(content_type: str | None) -> bool:
    """Whether a body with this property is MessagePack; any other is JSON."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return media_type in MSGPACKS or media_type.endswith("+msgpack")


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What follows from the annotations of an `infer`, where a service has no hooks of its own for it."""

    item: Kind | None = None
    """How a body is read; None where that is left to `decode`, or bodies are items."""
    result: Kind | None = None
    """What a result is; None where that is left to `encode`, or results are bodies."""
    writes: bool = False
    """Whether replies are written here, errors at least: not where there is an `encode`, or only bytes."""
    asks: str | None = None
    """The parameter of `infer`, or of `stream_infer`, for what is known of the requests."""
    stream_asks: str | None = None
    """That of `stream_infer` where there is an `infer`, too."""
    stacks: bool = False
    says_item: bool = True
    says_result: bool = True
    """Whether the annotations say what an item is, and what a result is, if only that it is bytes."""

    @property
    def has_effect(self) -> bool:
        """Whether anything does follow."""
        return self.item is not None or self.writes or self.tells

    @property
    def tells(self) -> bool:
        """Whether items come with what is known of their requests."""
        return self.asks is not None or self.stream_asks is not None

    def read(self, body: bytes, content_type: str | None) -> Any:
        """The item in a body.

        Raises:
            DecodeError: it is no JSON, or no MessagePack where the content type says so.
            InvalidRequest: it holds another type.
        """
        assert self.item is not None  # noqa: S101 - for the type checker
        return self.item.read(body, is_msgpack=is_msgpack(content_type))

    def write(self, outcome: Outcome[Any], content_type: str | None) -> Any:
        """The reply to a request of this content type, in the same coding; bytes as they are.

        Raises:
            TypeError: the result can't be written.
        """
        packs = is_msgpack(content_type)
        if isinstance(outcome, Failure):
            return _error_body(outcome.error, packs=packs)
        if self.result is None:
            return outcome.value
        return (_msgpack if packs else _json).encode(outcome.value)

    def content_type_of(self, outcome: Outcome[Any], content_type: str | None) -> str | None:
        """The content type of such a reply; None where it is what the service says."""
        if self.result is None and not isinstance(outcome, Failure):
            return None
        return MSGPACK if is_msgpack(content_type) else JSON

    def schemas(self, template: str = LOCAL) -> Schemas:
        """What it reads and writes; `template` is how components are referred to, with `{name}`."""
        components: dict[str, dict[str, Any]] = {}
        found = [None, None]
        for place, (kind, mode) in enumerate(((self.item, "validation"), (self.result, "serialization"))):
            if kind is not None:
                found[place], more = kind.schema(template, mode)  # type: ignore[call-overload] # of two
                components |= more
        return Schemas(found[0], found[1], components)

    def streaming(self, stream_infer: Callable[..., Any]) -> Callable[[list[Any]], Any]:
        """The `stream_infer` of a service without an `infer`, as executors call it."""
        return _streaming(stream_infer, self.asks) if self.tells else stream_infer

    def streaming_beside(self, stream_infer: Callable[..., Any]) -> Callable[[list[Any]], Any]:
        """The `stream_infer` of a service that has an `infer`, too."""
        return _streaming(stream_infer, self.stream_asks) if self.tells else stream_infer

    def calling(self, infer: Callable[..., Any]) -> Callable[[list[Any]], Any]:
        """The `infer` as executors call it: with items alone, for results that can be taken apart."""
        if not self.tells and not self.stacks and self.result is None:
            return infer
        call = Call(infer, asks=self.asks, stacks=self.stacks, lists=self.result is not None)
        return call.run_async if is_async(infer) else call.run


def _streaming(stream_infer: Callable[..., Any], asks: str | None) -> Callable[[list[Any]], Any]:
    return Call(stream_infer, asks=asks, stacks=False, lists=False).stream


def typed_stream_of(
    stream_infer: Callable[..., Any], name: str, *, reads: bool, writes: bool, joins: bool
) -> Typed:
    """As `typed_of`, for what streams; a whole reply is the list of its parts, unless its service `joins`.

    Raises:
        SettingError: as `typed_of`, or it asks for one array.
    """
    if not reads and not writes:
        return Typed(asks=asking_parameter(stream_infer, name))
    found = read(stream_infer, name, streams=True)
    if found.item.is_stacked:
        shown = shown_type(found.item.annotation)
        raise SettingError(
            f"{found.item.place} is {shown}; what streams is given items, so write list[{shown}]"
        )
    parts = found.result
    if parts.is_type and not joins:
        found = found._replace(result=parts._replace(annotation=list[parts.annotation]))  # type: ignore[name-defined] # a type that is known at run time
    return _typed(found, reads=reads, writes=writes)


def is_async(function: Any) -> bool:
    """Whether a call of it is to be awaited."""
    return any(
        inspect.iscoroutinefunction(each)
        for each in (function, getattr(function, "__call__", None))  # noqa: B004 - of an object that is called
    )


def typed_of(
    infer: Callable[..., Any],
    name: str,
    *,
    reads: bool,
    writes: bool,
    stream_infer: Callable[..., Any] | None = None,
) -> Typed:
    """What the annotations of an `infer` say, where there is no `decode` (`reads`), no `encode` (`writes`).

    Raises:
        SettingError: they can't be read, are not of batches, or of what no body can hold.
    """
    if reads or writes:
        typed = _typed(read(infer, name), reads=reads, writes=writes)
    else:
        typed = Typed(asks=asking_parameter(infer, name))
    if stream_infer is None:
        return typed
    return replace(typed, stream_asks=asking_parameter(stream_infer, f"{name} and stream_infer"))


def _typed(found: Read, *, reads: bool, writes: bool) -> Typed:
    item, result = found.item, found.result
    reads_type = reads and item.is_type
    if result.is_silent and reads_type and writes:
        result = Says(Any, place=result.place)
    kind = _kind(item, "validation") if reads_type else None
    results = _kind(result, "serialization") if writes and result.is_type else None
    return Typed(
        item=kind,
        result=results,
        writes=writes and (kind is not None or results is not None),
        asks=found.asks,
        stacks=reads_type and item.is_stacked,
        says_item=not item.is_silent,
        says_result=not result.is_silent,
    )


def _kind(says: Says, mode: str) -> Kind:
    """The kind of a type, which is tried out, so that a fault in it is told at the start.

    Raises:
        SettingError: no value of it can be read, or written.
    """
    try:
        kind = kind_of(says.annotation)
        kind.schema(LOCAL, mode)
    except Exception as error:
        why = str(error).strip().rpartition("\n")[2]
        hook = "decode" if mode == "validation" else "encode"
        raise SettingError(
            f"{says.place} is of {shown_type(says.annotation)}, which JSON can't hold ({why}); use a "
            "msgspec.Struct, a dataclass, a TypedDict, a pydantic model, plain types or a numpy array, or "
            f"write a method {hook} of your own"
        ) from error
    return kind


def _error_body(error: OutcomeError, *, packs: bool) -> bytes:
    where = {"path": error.path} if isinstance(error, InvalidRequest) else {}
    message = without_path(error).encode(errors="backslashreplace").decode()
    said = {"code": error.code, "message": message, **where}
    return (_msgpack if packs else _json).encode({"error": said})
