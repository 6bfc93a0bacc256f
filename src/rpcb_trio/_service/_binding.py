"""How each form of what a user writes becomes the one form that the pipeline runs."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rpcb_trio._parts import with_infer
from rpcb_trio._service._hooks import (
    ARGUMENTS,
    ASYNC,
    HOOKS,
    check_version,
    did_you_mean,
    incomplete,
    is_generator,
    near_misses,
    own_cache,
    refuse_content_type,
    refuse_no_function,
    refuse_signature,
)
from rpcb_trio._service._service import BoundService, name_of
from rpcb_trio._typed import Typed, is_async, typed_of, typed_stream_of
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")


def bind(target: Any) -> BoundService:
    """Accept a service, a class of one (or a `functools.partial` of that), or a plain function.

    A public method whose name resembles that of an optional hook is named in a warning: it is never called.

    Raises:
        SettingError: it is none of these; the message says what it lacks.
    """
    bound = bind_again(target)
    if bound is not target and _has_hooks(target):
        for name, hook in near_misses(target):
            log.warning("%s.%s is never called; did you mean %s?", bound.name, name, hook)
    return bound


def bind_again(target: Any) -> BoundService:
    """As `bind`, without warnings, for a service that was bound before or elsewhere."""
    if isinstance(target, BoundService):
        return target
    service = _instance(target)
    name = name_of(service)
    if _has_hooks(service):
        hooks = {hook: getattr(service, hook) for hook in HOOKS if hasattr(service, hook)}
        hooks["cache"] = own_cache(hooks.get("cache"), name)
        bound = _bound(_Given(name, hooks, partial(did_you_mean, service)))
        refuse_content_type(bound.content_type, name)
        check_version(f"{name}.version", bound.version)
        return bound
    if callable(service):
        return _bound(_Given(name, {"stream_infer" if is_generator(service) else "infer": service}))
    raise SettingError(
        f"{name} is not a service: give an object with decode, infer and encode, a class that makes one, "
        "a function from list[bytes] to list[bytes], or one whose annotations say what it takes and returns"
        f"{did_you_mean(service, 'infer')}"
    )


def placed(service: BoundService, device: str | None) -> BoundService:
    """The service for a replica on `device`; the same one where it has no `on_device`."""
    if device is None or service.on_device is None:
        return service
    return replace(bind_again(service.on_device(device)), name=service.name)


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


@dataclass(frozen=True)
class _Given:
    """The hooks that a target has, in their order. A plain function is its only hook, and gets no hint."""

    name: str
    hooks: Mapping[str, Any]
    hint: Callable[[str], str] | None = None
    """From the name of a hook that is missing: which other method may be meant."""

    def shown(self, hook: str) -> str:
        """The hook, as errors name it."""
        return self.name if self.hint is None else f"{self.name}.{hook}"

    def functions(self) -> list[tuple[str, Any]]:
        """The hooks that are there to be called."""
        return [(hook, self.hooks[hook]) for hook in ARGUMENTS if self.hooks.get(hook) is not None]

    def refuse_no_functions(self, *, may_await: bool) -> None:
        for hook, function in self.functions():
            refuse_no_function(
                function,
                self.shown(hook),
                may_await=may_await and hook in ASYNC,
                may_yield=hook == "stream_infer",
            )

    def refuse_unread(self, typed: Typed, infer: str) -> None:
        """A plain function may leave open what it takes and returns: bytes. An object may not."""
        for hook, is_said in (("decode", typed.says_item), ("encode", typed.says_result)):
            if self.hint is not None and not callable(self.hooks.get(hook)) and not is_said:
                raise incomplete(self.name, hook, self.hint, infer)

    def refuse_signatures(self, asks: Mapping[str, str | None]) -> None:
        """Refuse hooks that don't take what they get, `infer` first; `asks` names their second parameters."""
        for hook, function in sorted(self.functions(), key=lambda each: each[0] != "infer"):
            argument = "bodies" if self.hint is None else ARGUMENTS[hook]
            refuse_signature(function, self.shown(hook), argument, asks.get(hook))


def _bound(given: _Given) -> BoundService:
    """Check the hooks, and have what follows from the annotations of `infer`."""
    infer, stream_infer = given.hooks.get("infer"), given.hooks.get("stream_infer")
    if infer is None and stream_infer is not None:
        return _bound_stream(given)
    given.refuse_no_functions(may_await=is_async(infer))
    if not callable(infer):
        raise incomplete(given.name, "infer", given.hint)
    typed = typed_of(
        infer,
        given.shown("infer"),
        reads=given.hooks.get("decode") is None,
        writes=given.hooks.get("encode") is None,
        stream_infer=stream_infer,
    )
    given.refuse_unread(typed, "infer")
    given.refuse_signatures({"infer": typed.asks, "stream_infer": typed.stream_asks})
    hooks = {**given.hooks, "infer": typed.calling(infer)}
    if stream_infer is not None:
        hooks["stream_infer"] = typed.streaming_beside(stream_infer)
    return BoundService(
        name=given.name,
        **with_infer(hooks, joins_bytes=typed.result is None),
        typed=typed if typed.has_effect else None,
        is_async=is_async(infer),
    )


def _bound_stream(given: _Given) -> BoundService:
    """A service without an `infer`: its parts are joined where they are wanted whole."""
    stream_infer = given.hooks["stream_infer"]
    given.refuse_no_functions(may_await=False)
    typed = typed_stream_of(
        stream_infer,
        given.shown("stream_infer"),
        reads=given.hooks.get("decode") is None,
        writes=given.hooks.get("encode") is None,
        joins=given.hooks.get("join") is not None,
    )
    given.refuse_unread(typed, "stream_infer")
    given.refuse_signatures({"stream_infer": typed.asks})
    hooks = {**given.hooks, "stream_infer": typed.streaming(stream_infer)}
    return BoundService(
        name=given.name,
        streams_only=True,
        typed=typed if typed.has_effect else None,
        **with_infer(hooks, joins_bytes=typed.result is None),
    )
