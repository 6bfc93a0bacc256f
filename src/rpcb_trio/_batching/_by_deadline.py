"""Requests by deadline."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from itertools import count
from math import inf
from operator import itemgetter

from rpcb_trio._batching._cut import cut
from rpcb_trio._batching._line import Levels, arrival
from rpcb_trio._messages import Pending

_deadline: itemgetter[int] = itemgetter(0)
_Entry = tuple[float, int, tuple[float, int], int, Pending]
"""Deadline, priority (the higher first), arrival, a number that tells equals apart, request."""


def deadline_of(pending: Pending) -> float:
    """When it expires; infinity where it never does."""
    deadline = pending.request.deadline
    return inf if deadline is None else deadline


class ByDeadline:
    """Requests by deadline; after them those that have none."""

    def __init__(self, pending: Iterable[Pending]) -> None:
        self._numbers = count()
        self._entries: dict[Pending, _Entry] = {}
        self._sorted: list[_Entry] = []
        self.undated = Levels()
        for each in pending:
            self.join(each)

    def __len__(self) -> int:
        """How many have a deadline."""
        return len(self._sorted)

    @property
    def earliest(self) -> float:
        """The earliest deadline; infinity where nobody has one."""
        return self._sorted[0][0] if self._sorted else inf

    def join(self, pending: Pending) -> None:
        """Take a place by deadline."""
        deadline = pending.request.deadline
        if deadline is None:
            self.undated.join(pending)
            return
        place = -pending.request.priority, arrival(pending), next(self._numbers)
        entry = self._entries[pending] = (deadline, *place, pending)
        insort(self._sorted, entry)

    def leave(self, leaving: Iterable[Pending]) -> None:
        """Give their places up."""
        entries = list[_Entry]()
        for each in leaving:
            entry = self._entries.pop(each, None)
            if entry is None:
                self.undated.leave((each,))
            else:
                entries.append(entry)
        if entries:
            cut(self._sorted, entries)

    def expired(self, now: float) -> tuple[Pending, ...]:
        """Whose deadline has passed, in order of arrival."""
        passed = self._sorted[: bisect_right(self._sorted, now, key=_deadline)]
        return tuple(each[-1] for each in sorted(passed, key=lambda entry: entry[2:4]))

    def due_from(self, deadline: float) -> int:
        """The place of the first that is due then or later."""
        return bisect_left(self._sorted, deadline, key=_deadline)

    def between(self, start: int, end: int) -> list[Pending]:
        """Those in places from `start` to before `end` who have a deadline."""
        return [each[-1] for each in self._sorted[start:end]]
