"""Replies in parts: what a service yields, step by step, and how parts become one reply."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from operator import index as exact_index
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from rpcb_trio._guard import exact_bytes, judge_infer, outcome_of, type_name
from rpcb_trio._messages import Failure, Outcome, Success
from rpcb_trio.errors import WrongResultCount

PartT = TypeVar("PartT")


class End(Enum):
    """The type of `END`."""

    END = "END"

    def __repr__(self) -> str:
        """As it is imported."""
        return self.value


END: Final = End.END
"""What `stream_infer` yields for an item that has no further part."""

Step: TypeAlias = Mapping[int, PartT | Exception | End]
"""What `stream_infer` yields: parts by the numbers of their items, counted from 0 in the batch. `END` ends an
item, and so does an exception, which fails its request alone."""

Happened: TypeAlias = Sequence[tuple[int, Outcome[Any] | End]]
"""A step as the pipeline takes it: for some items a part (a `Success`), a failure, or the end. An item that
is wanted whole has no parts: its result comes at its end."""


class Joined(msgspec.Struct, frozen=True):
    """All parts of a reply whose service has an `encode`, and no `join`: each is encoded by itself."""

    parts: list[Any]


def by_item(iterables: Iterable[Iterable[PartT]]) -> Generator[Step[PartT], Collection[int], None]:
    """Take the parts of each item from an iterator of its own.

        def stream_infer(self, items):
            yield from by_item(self.words(item) for item in items)

    The iterators take turns, one part each. What one raises fails its item alone. That of a caller who has
    left is closed.
    """
    live = {number: iter(each) for number, each in enumerate(iterables)}
    try:
        while live:
            for number, iterator in list(live.items()):
                if number not in live:
                    continue
                part: PartT | Exception | End
                try:
                    part = next(iterator)
                except StopIteration:
                    part = END
                except Exception as error:  # noqa: BLE001 - it is the item's own
                    part = error
                if part is END or isinstance(part, Exception):
                    del live[number]
                gone = (yield {number: part}) or ()
                for left in gone:
                    _close(live.pop(left, None))
    finally:
        for each in live.values():
            _close(each)


def steps_of(
    steps: Iterator[Any], count: int, *, whole: Collection[int], join: Callable[[list[Any]], Any]
) -> Generator[Happened, Collection[int], None]:
    """Run what `stream_infer` returned to its end; it is sent the numbers of the items that nobody wants.

    Args:
        steps: as `stream_infer` returned it.
        count: how many items there are.
        whole: the items that are wanted as one result each.
        join: makes one result of parts.

    Raises:
        WrongResultCount: it yields what is no step.
        BaseException: whatever `stream_infer` raises.
    """
    reader = _Reader(count, whole, join)
    try:
        gone: Collection[int] = ()
        has_begun = False
        send = getattr(steps, "send", None)
        while reader.live:
            try:
                step = send(gone) if has_begun and send is not None else next(steps)
            except StopIteration:
                step = dict.fromkeys(reader.live, END)
            has_begun = True
            gone = reader.leave((yield reader.read(step)) or ())
    finally:
        _close(steps)


class _Reader:
    """Checks each step, and collects the parts of the items that are wanted whole."""

    def __init__(self, count: int, whole: Collection[int], join: Callable[[list[Any]], Any]) -> None:
        self._count = count
        self._join = join
        self._gone = set[int]()
        self.live: dict[int, list[Any] | None] = {
            number: [] if number in whole else None for number in range(count)
        }

    def read(self, step: Any) -> list[tuple[int, Outcome[Any] | End]]:
        if not isinstance(step, Mapping):
            raise WrongResultCount(
                "stream_infer must yield maps from the numbers of items to parts, as {0: part}, not "
                f"{type_name(step)}; for one iterator for each item there is rpcb_trio.streaming.by_item"
            )
        happened = list[tuple[int, Outcome[Any] | End]]()
        for key, part in step.items():
            number = exact_index(key)
            if number in self._gone:
                continue
            if number not in self.live:
                why = "has ended" if 0 <= number < self._count else f"is none of {self._count} item(s)"
                raise WrongResultCount(f"stream_infer yielded a part for item {number}, which {why}")
            found = self._happened(number, END if part is END else outcome_of(part))
            if found is not None:
                happened.append((number, found))
        return happened

    def leave(self, numbers: Collection[int]) -> list[int]:
        """Take no more for these; returns those that are new among them."""
        new = [number for number in numbers if number in self.live]
        for number in new:
            del self.live[number]
        self._gone.update(new)
        return new

    def _happened(self, number: int, part: Outcome[Any] | End) -> Outcome[Any] | End | None:
        """What becomes of a part; None where the item is wanted whole, and is not complete."""
        collected = self.live[number]
        if isinstance(part, Success):
            if collected is None:
                return part
            collected.append(part.value)
            return None
        del self.live[number]
        if part is not END or collected is None:
            return part
        try:
            return outcome_of(self._join(collected))
        except BaseException as error:  # noqa: BLE001 - it fails its item alone, whatever join raises
            return Failure(judge_infer(error))


def with_infer(hooks: Mapping[str, Any], *, joins_bytes: bool = True) -> dict[str, Any]:
    """The hooks of a service, with those that one which streams leaves out: `join`, and an `infer`."""
    given = {**hooks}
    stream_infer, encode, join = (given.get(name) for name in ("stream_infer", "encode", "join"))
    if stream_infer is None:
        return given
    if join is None:
        join = list
        if joins_bytes:
            join = _joined_bytes if encode is None else Joined
        if encode is not None:
            given["encode"] = partial(_encode_each, encode)
    given["join"] = join
    if given.get("infer") is None:
        given["infer"] = partial(_infer_whole, stream_infer, join)
    return given


def _infer_whole(
    stream_infer: Callable[[list[Any]], Any], join: Callable[[list[Any]], Any], items: list[Any]
) -> list[Outcome[Any]]:
    results = dict[int, Outcome[Any]]()
    everything = range(len(items))
    for step in steps_of(iter(stream_infer(items)), len(items), whole=everything, join=join):
        results.update((number, each) for number, each in step if each is not END)
    return [results[number] for number in everything]


def _joined_bytes(parts: list[Any]) -> bytes:
    return b"".join(map(exact_bytes, parts))


def _encode_each(encode: Callable[[Outcome[Any]], bytes], outcome: Outcome[Any]) -> bytes:
    if isinstance(outcome, Success) and type(outcome.value) is Joined:
        return b"".join(exact_bytes(_encode_each(encode, Success(part))) for part in outcome.value.parts)
    return encode(outcome)


def _close(iterator: object) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        with suppress(Exception):  # nobody waits for it any more
            close()
