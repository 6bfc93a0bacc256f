"""The pending requests, and those of them that may go at one decision.

They are kept so that neither an arrival nor a decision looks at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse, islice, takewhile
from typing import overload

from rpcb_trio._batching._orders import ByCost, ByDeadline, Levels, Line, arrival, deadline_of, turn
from rpcb_trio._messages import Pending


class Waiting(Sequence[Pending]):
    """The pending requests in order of arrival, as the batcher shows them to a policy.

    Most services know one priority, one cost and no deadline. So any other order than that of arrival is kept
    only from the first request on that differs from the others in it, and until none waits any more.
    """

    def __init__(self, pending: Iterable[Pending] = ()) -> None:
        self._line = Line()
        self._last = (-math.inf, 0)
        self._forget_orders()
        self.join(sorted(pending, key=arrival))

    @classmethod
    def of(cls, pending: Sequence[Pending]) -> Waiting:
        """The same requests; the same object where it is one of these already."""
        return pending if isinstance(pending, Waiting) else cls(pending)

    def join(self, arrivals: Iterable[Pending]) -> None:
        """Take some in. They may have been overtaken, since several threads decode."""
        line = self._line
        for each in arrivals:
            request = each.request
            if not line:
                self._priority, self._cost = request.priority, each.cost
            place = request.arrived, request.tag
            if place >= self._last:
                line[each] = None
                self._last = place
            else:
                line.join(each)
            if (
                self._orders
                or each.suspect
                or request.deadline is not None
                or request.priority != self._priority
                or each.cost != self._cost
            ):
                self._arrange(each)

    def leave(self, leaving: Iterable[Pending]) -> None:
        """Take some out; one that does not wait is ignored."""
        line = self._line
        gone = [each for each in leaving if line.pop(each, leaving) is None]
        for order in self._orders:
            order.leave(gone)
        if self._suspects:
            self._suspects.difference_update(gone)
        if self._orders and not line:
            self._forget_orders()

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._line)

    def __reversed__(self) -> Iterator[Pending]:
        return reversed(self._line)

    def __contains__(self, pending: object) -> bool:
        return pending in self._line

    @overload
    def __getitem__(self, index: int) -> Pending: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pending]: ...

    def __getitem__(self, index: int | slice) -> Pending | list[Pending]:
        """At the beginning it costs no more than what is asked for."""
        if isinstance(index, slice):
            chosen = range(*index.indices(len(self)))
            if chosen.step == 1:
                return list(islice(self, chosen.start, max(chosen.start, chosen.stop)))
            return list(self)[index]
        place = range(len(self))[index]  # refuses what lies beyond the end
        return next(islice(self, place, None))

    @property
    def has_suspects(self) -> bool:
        """Whether there is one that must run alone."""
        return bool(self._suspects)

    @property
    def has_levels(self) -> bool:
        """Whether priorities may differ."""
        return self._levels is not None

    @property
    def by_cost(self) -> ByCost | None:
        """All by cost; None where all cost the same."""
        return self._by_cost

    @property
    def by_deadline(self) -> ByDeadline | None:
        """All by deadline; None where none has one."""
        return self._by_deadline

    def expired(self, now: float) -> tuple[Pending, ...]:
        """All whose deadline has passed, in order of arrival."""
        return () if self._by_deadline is None else self._by_deadline.expired(now)

    def in_turn(self, ageing: float) -> Iterator[Pending]:
        """The first in turn first; a level of priority is worth `ageing` seconds of waiting."""
        return iter(self._line) if self._levels is None else self._levels.in_turn(ageing)

    def _forget_orders(self) -> None:
        self._levels: Levels | None = None
        self._by_cost: ByCost | None = None
        self._by_deadline: ByDeadline | None = None
        self._orders: list[Levels | ByCost | ByDeadline] = []
        self._suspects = set[Pending]()
        self._priority, self._cost = 0, 1.0

    def _arrange(self, pending: Pending) -> None:
        """Enter one that has just joined the line into every order that is kept, or must be kept from now."""
        for order in self._orders:
            order.join(pending)
        if pending.suspect:
            self._suspects.add(pending)
        if self._levels is None and pending.request.priority != self._priority:
            self._levels = Levels(self._line)
            self._orders.append(self._levels)
        if self._by_cost is None and pending.cost != self._cost:
            self._by_cost = ByCost(self._line)
            self._orders.append(self._by_cost)
        if self._by_deadline is None and pending.request.deadline is not None:
            self._by_deadline = ByDeadline(self._line)
            self._orders.append(self._by_deadline)


class Turns:
    """Those that wait and have not expired, in every order.

    Each question costs no more than what is looked at of its answer, and what has expired.

    Args:
        waiting: all that are pending.
        expired: those among them whose deadline has passed.
        ageing: how many seconds of waiting one level of priority is worth.
    """

    def __init__(self, waiting: Waiting, expired: Sequence[Pending] = (), ageing: float = 0.0) -> None:
        self._waiting = waiting
        self._expired = frozenset(expired)
        self._ageing = ageing

    def __len__(self) -> int:
        return len(self._waiting) - len(self._expired)

    def __iter__(self) -> Iterator[Pending]:
        """In turn."""
        return self._alive(self._waiting.in_turn(self._ageing))

    @property
    def head(self) -> Pending:
        """The first in turn."""
        return next(iter(self))

    @property
    def oldest(self) -> Pending:
        """The first that arrived."""
        return next(self._alive(iter(self._waiting)))

    @property
    def costs_differ(self) -> bool:
        """Whether they may; else all cost the same."""
        by_cost = self._waiting.by_cost
        return by_cost is not None and by_cost.differ

    @property
    def largest_cost(self) -> float:
        """None costs more."""
        by_cost = self._waiting.by_cost
        return self.head.cost if by_cost is None else by_cost.largest

    @property
    def earliest_deadline(self) -> float:
        """The first of all; infinity where none has one."""
        return deadline_of(self.by_deadline(0, 1)[0])

    def before_the_first_suspect(self) -> Turns:
        """Those that may go together. Suspects come at the head of a queue, so there are few before one."""
        if not self._waiting.has_suspects:
            return self
        return Turns(Waiting(takewhile(lambda each: not each.suspect, self)), (), self._ageing)

    def in_turn(self, chosen: Iterable[Pending]) -> tuple[Pending, ...]:
        """The chosen, sorted."""
        return tuple(sorted(chosen, key=lambda each: turn(each, self._ageing)))

    def longer(self) -> Iterator[Pending]:
        """Those that cost as much as the head or more, from it on; the smallest first, equals in turn."""
        by_cost = self._waiting.by_cost
        return iter(self) if by_cost is None else self._alive(by_cost.up_from(self.head.cost, self._ageing))

    def shorter(self) -> Iterator[Pending]:
        """Those that cost less than the head; the largest first, of equals the last in turn."""
        by_cost = self._waiting.by_cost
        return iter(()) if by_cost is None else self._alive(by_cost.down_from(self.head.cost, self._ageing))

    @property
    def dated(self) -> int:
        """How many have a deadline."""
        by_deadline = self._waiting.by_deadline
        return 0 if by_deadline is None else len(by_deadline) - len(self._expired)

    def by_deadline(self, start: int, end: int) -> list[Pending]:
        """Those in places from `start` to before `end` by deadline; those without one come last, in turn."""
        by_deadline = self._waiting.by_deadline
        if by_deadline is None:
            return list(islice(self, start, end))
        gone = len(self._expired)  # the first by deadline
        found = by_deadline.between(gone + start, gone + end)
        if end > self.dated:
            undated = by_deadline.undated.in_turn(self._ageing)
            found += islice(undated, max(0, start - self.dated), end - self.dated)
        return found

    def due_from(self, deadline: float) -> int:
        """The place by deadline of the first that is due then or later."""
        by_deadline = self._waiting.by_deadline
        return 0 if by_deadline is None else max(0, by_deadline.due_from(deadline) - len(self._expired))

    def _alive(self, pending: Iterator[Pending]) -> Iterator[Pending]:
        return filterfalse(self._expired.__contains__, pending) if self._expired else pending
