"""What the annotations of an `infer` say, without any knowledge of how such types are read."""

from __future__ import annotations

import builtins
import collections.abc
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from rpcb_trio._parts import End
from rpcb_trio._typed._arrays import is_array_like
from rpcb_trio._typed._requests import RequestInfo
from rpcb_trio.errors import SettingError

SEVERAL = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
"""What a batch of items or results may be annotated as."""

STEPS = (collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator)
"""What steps may be annotated as."""

BUFFERS = (bytes, bytearray, memoryview)

COMMON = {
    name: getattr(module, name)
    for module in (typing, collections.abc)
    for name in ("Any", "Callable", "Iterable", "Collection", "Mapping", "Sequence")
    if hasattr(module, name)
}
"""Names that are often imported for type checkers alone."""


class Says(NamedTuple):
    """What an annotation says of one item or one result: nothing, bytes as they are, or a type."""

    annotation: Any = None
    is_bytes: bool = False
    is_stacked: bool = False
    """Whether a batch of items is one array."""
    place: str = ""
    """Where it stands, for an error's text."""

    @property
    def is_type(self) -> bool:
        return self.annotation is not None

    @property
    def is_silent(self) -> bool:
        return self.annotation is None and not self.is_bytes


class Read(NamedTuple):
    """All that the annotations of a function say."""

    item: Says
    result: Says
    asks: str | None
    """The parameter for what is known of the requests."""


def asking_parameter(function: Callable[..., Any], name: str) -> str | None:
    """The parameter of `list[RequestInfo]`; annotations are resolved only where one looks like that.

    Raises:
        SettingError: the annotations can't be read, or it can't be given by name.
    """
    others = [each for each in _parameters(function)[1:] if RequestInfo.__name__ in str(each.annotation)]
    hints = _hints(function, name) if others else {}
    for each in others:
        if _member(hints.get(each.name)) is RequestInfo:
            if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                raise SettingError(f"{name}: its parameter {each.name} can't be given by name; let it be so")
            return each.name
    return None


def read(function: Callable[..., Any], name: str, *, streams: bool = False) -> Read:
    """Read the annotations of an `infer`, or of a `stream_infer`.

    Raises:
        SettingError: they can't be read, or are not of batches.
    """
    parameters = _parameters(function)
    hints = _hints(function, name) if parameters else {}
    if not hints:
        return Read(Says(), Says(), None)
    first = parameters[0].name
    of_results = _of_steps if streams else _of_results
    return Read(
        _of_items(hints.get(first), f"{name}: its parameter {first}"),
        of_results(hints.get("return", Any), f"{name}: its result"),
        asking_parameter(function, name),
    )


def shown_type(annotation: Any) -> str:
    """An annotation as it is written, without the names of modules."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(annotation)).replace("NoneType", "None")


def _of_items(annotation: Any, place: str) -> Says:
    if _is_silent(annotation):
        return Says(place=place)
    annotation = _bare(annotation)
    if is_array_like(annotation):
        return Says(annotation, is_stacked=True, place=place)
    return _of_member(_member(annotation), annotation, place)


def _of_results(annotation: Any, place: str) -> Says:
    if _is_silent(annotation):
        return Says(place=place)
    annotation = _bare(annotation)
    if is_array_like(annotation):
        return Says(annotation, place=place)
    return _of_member(_without_errors(_member(annotation)), annotation, place)


def _of_steps(annotation: Any, place: str) -> Says:
    """Of what a `stream_infer` yields: the parts in `Iterator[Step[Part]]`."""
    annotation = _bare(annotation)
    step = _bare(get_args(annotation)[0]) if get_args(annotation) else Any
    if _is_silent(annotation) or _is_silent(step):
        return Says(place=place)
    if get_origin(annotation) not in STEPS or get_origin(step) not in (collections.abc.Mapping, dict):
        raise SettingError(
            f"{place} is annotated as {shown_type(annotation)}; it yields steps, so write Iterator[Step[...]]"
        )
    part = _without_errors(get_args(step)[1])
    return _of_member(part, part, place)


def _without_errors(member: Any) -> Any:
    """A result or a part, without what ends an item instead."""
    if get_origin(member) not in (Union, UnionType):
        return member
    kept = [each for each in get_args(member) if not _is_exception(each) and each is not End]
    return Union[tuple(kept)] if kept else Any  # noqa: UP007 - of a tuple


def _of_member(member: Any, annotation: Any, place: str) -> Says:
    if annotation is NoneType:
        raise SettingError(f"{place} is None; let it return one result for each request, as in list[str]")
    if member is None:
        shown = shown_type(annotation)
        raise SettingError(
            f"{place} is annotated as {shown}, which is no batch; there is one for each request, so write "
            f"list[{shown}]"
        )
    if _is_silent(member):
        return Says(place=place)
    leaves = get_args(member) if get_origin(member) in (Union, UnionType) else (member,)
    if all(each in BUFFERS for each in leaves):
        return Says(is_bytes=True, place=place)
    return Says(member, place=place)


def _member(annotation: Any) -> Any:
    """The type of each in a batch; None where the annotation is of no batch."""
    annotation = _bare(annotation)
    if annotation in SEVERAL:
        return Any
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and arguments[1:] != (...,):
        return None
    return arguments[0] if get_origin(annotation) in SEVERAL else None


def _bare(annotation: Any) -> Any:
    """Without `Annotated`, without `| None`, and without the name that a `type` statement has given it."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType) and len(kept := _others(annotation)) == 1:
            [annotation] = kept
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


def _others(union: Any) -> list[Any]:
    """The members of a union without None."""
    return [each for each in get_args(union) if each is not NoneType]


def _is_silent(annotation: Any) -> bool:
    return annotation is None or annotation in (Any, object) or isinstance(annotation, TypeVar)


def _is_exception(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those that are not given yet; none where it has no signature, as some functions written in C."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


def _hints(function: Callable[..., Any], name: str) -> Mapping[str, Any]:
    plain = _plain(function)
    known = {**vars(builtins), **getattr(inspect.unwrap(plain), "__globals__", {})}
    more = {each: value for each, value in COMMON.items() if each not in known}
    try:
        return get_type_hints(plain, localns=more, include_extras=True)
    except Exception as error:
        if not getattr(plain, "__annotations__", None):
            return {}
        raise SettingError(
            f"{name}: its annotations can't be read ({type(error).__name__}: {error}); let what they name be "
            "of its module, and imported at run time"
        ) from error


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that has the annotations."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    return type(function).__call__
