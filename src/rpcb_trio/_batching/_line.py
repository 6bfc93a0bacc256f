"""Requests in order of arrival, and in turn: by priority, with ageing so that nobody starves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import takewhile

from rpcb_trio._messages import Pending


def arrival(pending: Pending) -> tuple[float, int]:
    """What requests in order of arrival are sorted by."""
    return pending.request.arrived, pending.request.tag


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
    """A line for each level of priority."""

    __slots__ = ("_lines",)

    def __init__(self, pending: Iterable[Pending] = ()) -> None:
        self._lines: dict[int, Line] = {}
        for each in pending:
            self.join(each)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def join(self, pending: Pending) -> None:
        """Join the line of its level."""
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
        """The first in turn first.

        One level of AMQP priority (0 to 9, or as high as the queue goes) is worth `ageing` seconds of
        waiting: a request is overtaken only by those that come within `ageing` seconds for each level they
        are above it.
        """
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


def turn(pending: Pending, ageing: float) -> tuple[float, tuple[float, int]]:
    """What requests in turn are sorted by."""
    return pending.request.arrived - pending.request.priority * ageing, arrival(pending)
