"""The pending requests, kept so that neither an arrival nor a decision looks at all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

from rpcb_trio._batching._by_cost import ByCost
from rpcb_trio._batching._by_deadline import ByDeadline
from rpcb_trio._batching._line import Levels, Line, arrival
from rpcb_trio._messages import Pending


class Waiting(Sequence[Pending]):
    """The pending requests in order of arrival, as the batcher shows them to a policy.

    Most services know one priority, one cost and no deadline. So any other order than that of arrival is kept
    only from the first request on that differs from the others in it, and until nobody waits any more.
    """

    def __init__(self, pending: Iterable[Pending] = ()) -> None:
        self._line = Line()
        self._last = (-math.inf, 0)
        self._forget_orders()
        self.join(sorted(pending, key=arrival))

    @classmethod
    def of(cls, pending: Sequence[Pending]) -> Waiting:
        """The same requests; no other object if it is one of these."""
        return pending if isinstance(pending, Waiting) else cls(pending)

    def join(self, arrivals: Iterable[Pending]) -> None:
        """Let some wait. They may have been overtaken, since several threads decode."""
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
        """Let some go, if they wait."""
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
        """All by deadline; None where nobody has one."""
        return self._by_deadline

    def expired(self, now: float) -> tuple[Pending, ...]:
        """Whose deadline has passed, in order of arrival."""
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
