"""Requests in several orders: of arrival, in turn (by priority, with ageing), by cost, and by deadline."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import count, takewhile
from math import inf
from operator import itemgetter
from typing import Any, TypeVar

from rpcb_trio._messages import Pending

SortableT = TypeVar("SortableT", bound=Any)

_Entry = tuple[float, int, tuple[float, int], int, Pending]
"""Deadline, priority (the higher first), arrival, a number that tells equals apart, request."""
_deadline: itemgetter[int] = itemgetter(0)


def arrival(pending: Pending) -> tuple[float, int]:
    """What requests in order of arrival are sorted by."""
    since, request = pending.since, pending.request
    return request.arrived if since is None else since, request.tag


def turn(pending: Pending, ageing: float) -> tuple[float, tuple[float, int]]:
    """What requests in turn are sorted by.

    One level of AMQP priority (0 to 9, or as high as the queue goes) is worth `ageing` seconds of waiting: a
    request is overtaken only by those that arrive within `ageing` seconds for each level they are above it.
    So none starves.
    """
    place = arrival(pending)
    return place[0] - pending.request.priority * ageing, place


def deadline_of(pending: Pending) -> float:
    """When it expires; infinity where it never does."""
    deadline = pending.request.deadline
    return inf if deadline is None else deadline


class Line(OrderedDict[Pending, None]):
    """Requests in order of arrival. To join it, to leave it from anywhere or to see either end is O(1)."""

    def join(self, pending: Pending) -> None:
        """Take the place after all that arrived before; nearly always the last, but decoding may overtake."""
        place = arrival(pending)
        later = list(takewhile(lambda each: arrival(each) > place, reversed(self)))
        self[pending] = None
        for each in reversed(later):
            self.move_to_end(each)


class Levels:
    """Requests in turn: a line for each level of priority."""

    __slots__ = ("_lines",)

    def __init__(self, pending: Iterable[Pending] = ()) -> None:
        self._lines: dict[int, Line] = {}
        for each in pending:
            self.join(each)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def join(self, pending: Pending) -> None:
        """Take a place at the end of a level."""
        line = self._lines.get(pending.request.priority)
        if line is None:
            line = self._lines[pending.request.priority] = Line()
        line.join(pending)

    def leave(self, leaving: Iterable[Pending]) -> None:
        """Leave the lines of their levels."""
        for each in leaving:
            line = self._lines[each.request.priority]
            del line[each]
            if not line:
                del self._lines[each.request.priority]

    def in_turn(self, ageing: float) -> Iterator[Pending]:
        """The first in turn first."""
        lines = list(self._lines.values())
        if len(lines) == 1:
            return iter(lines[0])
        return merge(*lines, key=lambda each: turn(each, ageing))

    def last_in_turn(self, ageing: float) -> Iterator[Pending]:
        """The last in turn first."""
        lines = list(self._lines.values())
        if len(lines) == 1:
            return reversed(lines[0])
        return merge(*map(reversed, lines), key=lambda each: turn(each, ageing), reverse=True)


class ByCost:
    """Requests by cost, and those of the same cost in turn."""

    def __init__(self, pending: Iterable[Pending]) -> None:
        self._costs: list[float] = []
        self._levels: dict[float, Levels] = {}
        for each in pending:
            self.join(each)

    @property
    def largest(self) -> float:
        """The largest cost of all."""
        return self._costs[-1]

    @property
    def differ(self) -> bool:
        """Whether there are two costs or more."""
        return len(self._costs) > 1

    def join(self, pending: Pending) -> None:
        """Take a place by cost."""
        levels = self._levels.get(pending.cost)
        if levels is None:
            levels = self._levels[pending.cost] = Levels()
            insort(self._costs, pending.cost)
        levels.join(pending)

    def leave(self, leaving: Iterable[Pending]) -> None:
        """Leave their places."""
        costs = list[float]()
        for each in leaving:
            levels = self._levels[each.cost]
            levels.leave((each,))
            if not levels:
                del self._levels[each.cost]
                costs.append(each.cost)
        if costs:
            _cut(self._costs, costs)

    def up_from(self, cost: float, ageing: float) -> Iterator[Pending]:
        """Those of this cost or more, the smallest first; equals in turn."""
        for index in range(bisect_left(self._costs, cost), len(self._costs)):
            yield from self._levels[self._costs[index]].in_turn(ageing)

    def down_from(self, cost: float, ageing: float) -> Iterator[Pending]:
        """Those of less than this cost, the largest first; of equals the last in turn first."""
        for index in range(bisect_left(self._costs, cost) - 1, -1, -1):
            yield from self._levels[self._costs[index]].last_in_turn(ageing)


class ByDeadline:
    """Requests by deadline; after them those that have none."""

    def __init__(self, pending: Iterable[Pending]) -> None:
        self._numbers = count()
        self._entries: dict[Pending, _Entry] = {}
        self._sorted: list[_Entry] = []
        self._undated = Levels()
        for each in pending:
            self.join(each)

    def __len__(self) -> int:
        """How many have a deadline."""
        return len(self._sorted)

    def undated_in_turn(self, ageing: float) -> Iterator[Pending]:
        """Those that have none."""
        return self._undated.in_turn(ageing)

    def join(self, pending: Pending) -> None:
        """Take a place by deadline."""
        deadline = pending.request.deadline
        if deadline is None:
            self._undated.join(pending)
            return
        place = -pending.request.priority, arrival(pending), next(self._numbers)
        entry = self._entries[pending] = (deadline, *place, pending)
        insort(self._sorted, entry)

    def leave(self, leaving: Iterable[Pending]) -> None:
        """Leave their places."""
        entries = list[_Entry]()
        for each in leaving:
            entry = self._entries.pop(each, None)
            if entry is None:
                self._undated.leave((each,))
            else:
                entries.append(entry)
        if entries:
            _cut(self._sorted, entries)

    def expired(self, now: float) -> tuple[Pending, ...]:
        """All whose deadline has passed, in order of arrival."""
        passed = self._sorted[: bisect_right(self._sorted, now, key=_deadline)]
        return tuple(each[-1] for each in sorted(passed, key=lambda entry: entry[2:4]))

    def due_from(self, deadline: float) -> int:
        """The place of the first that is due then or later."""
        return bisect_left(self._sorted, deadline, key=_deadline)

    def between(self, start: int, end: int) -> list[Pending]:
        """Those that have a deadline, in places from `start` to before `end`."""
        return [each[-1] for each in self._sorted[start:end]]


def _cut(kept: list[SortableT], leaving: list[SortableT]) -> None:
    """Take the leaving, at least one, out of a sorted list that holds each of them once.

    Those that leave together are mostly neighbours; then the many after them are moved only once.
    """
    leaving.sort()
    start = bisect_left(kept, leaving[0])
    end = start + len(leaving)
    if kept[end - 1 : end] == leaving[-1:]:
        del kept[start:end]
        return
    for each in leaving:
        del kept[bisect_left(kept, each)]
