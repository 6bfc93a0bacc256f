"""The hooks of a service: their names, those that resemble them, and what is refused in their place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rpcb_trio._cache import Cache
from rpcb_trio.errors import SettingError

LIKE_A_VERSION = "2026-11"

LONGEST_VERSION = 100
"""Characters of a model's version: it is in every reply, and a label of metrics."""

LONGEST_SHORT_STRING = 255
"""Bytes that AMQP allows a content type."""

ARGUMENTS = {
    "decode": "body",
    "infer": "items",
    "encode": "outcome",
    "stream_infer": "items",
    "join": "results",
    "cost": "item",
    "warm_up": "",
    "on_device": "device",
    "close": "",
}
"""What each hook is called with."""

HOOKS = (*ARGUMENTS, "content_type", "version", "cache")

ASYNC = ("infer", "warm_up", "close")
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


def near_misses(service: Any) -> list[tuple[str, str]]:
    """Public names that resemble hooks which the service does not have, each with the hook's name."""
    names = [name for name in dir(service) if not name.startswith("_")]
    hooks = [(name, _ALIASES.get(name.lower().replace("_", ""), name)) for name in names]
    return [(name, hook) for name, hook in hooks if hook not in names]


def did_you_mean(service: Any, missing: str) -> str:
    """What an error adds about a hook that is missing, where a name resembles it."""
    found = [name for name, hook in near_misses(service) if hook == missing]
    return f"; should {found[0]} be named {missing}?" if found else ""


def incomplete(name: str, hook: str, hint: Callable[[str], str] | None, infer: str = "infer") -> SettingError:
    """The error for a service that lacks a hook, and whose `infer` does not make up for it."""
    remedy = "" if hook == infer else f", or annotations of {infer} that say what it takes and returns"
    return SettingError(
        f"the service {name} has no method {hook}; it needs decode, {infer} and encode{remedy}"
        f"{'' if hint is None else hint(hook)}"
    )


def is_generator(function: Any) -> bool:
    """Whether a call of it makes a generator."""
    return any(map(inspect.isgeneratorfunction, _called(function)))


def _called(function: Any) -> tuple[Any, Any]:
    """What runs where it is called: itself, or the method of an object."""
    return function, getattr(function, "__call__", None)  # noqa: B004 - of an object that is called


def refuse_no_function(function: Any, name: str, *, may_await: bool, may_yield: bool) -> None:
    """Accept what a thread can call, and what it can await or ask for parts, where the hook may be such.

    Raises:
        SettingError: it is something else.
    """
    if not callable(function):
        raise SettingError(f"{name} is of type {type(function).__name__}; hooks must be plain functions")
    for each in _called(function):
        if inspect.isasyncgenfunction(each) or (inspect.iscoroutinefunction(each) and not may_await):
            raise SettingError(
                f"{name} is async; hooks run in threads and must be plain functions. infer may be async, and "
                "then warm_up and close, too"
            )
    if is_generator(function) and not may_yield:
        remedy = "name it stream_infer" if name.endswith(".infer") else "let it return what it yields"
        raise SettingError(f"{name} is a generator; hooks must be plain functions, so {remedy}")


def refuse_signature(function: Any, name: str, argument: str, more: str | None) -> None:
    """Accept what can be called with an argument (none where that is empty), and with `more` by its name.

    Raises:
        SettingError: it can't.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(*[argument] * bool(argument), **({} if more is None else {more: more}))
    except TypeError as error:
        remedy = "let it take that one argument" if argument else "let it take no arguments"
        raise SettingError(f"{name} can't be called as {name}({argument}): {error}; {remedy}") from error


def refuse_content_type(content_type: Any, name: str) -> None:
    """Accept what AMQP can carry as the content type of a reply.

    Raises:
        SettingError: it can't.
    """
    if not isinstance(content_type, str) or len(content_type.encode()) > LONGEST_SHORT_STRING:
        raise SettingError(f"{name}.content_type is {content_type!r}; give a MIME type, as application/json")


def own_cache(cache: Any, name: str) -> Cache | None:
    """A service's `Cache`; what else it may call so, as a dictionary of its own, is none of ours.

    Raises:
        SettingError: it is meant for one.
    """
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
