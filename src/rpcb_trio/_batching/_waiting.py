"""The pending requests, and those of them that may go at one decision.

They are kept so that neither an arrival nor a decision looks at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse, islice, takewhile
from typing import Final, overload

from rpcb_trio._batching._orders import ByCost, ByDeadline, Levels, Line, arrival, deadline_of, turn
from rpcb_trio._batching._policy import Policy
from rpcb_trio._batching._tenants import Tenants
from rpcb_trio._batching._window import Window
from rpcb_trio._messages import Pending, Request
from rpcb_trio._shares import Shares

WIDE: Final = 2
"""Batches among which a policy may choose by cost or by deadline, where tenants share the worker. Among
four a flood of mixed costs raises the p99 of another by 70 % more than among two, for 14 % more throughput. A
worker without shares chooses among one, since its prefetch is two batches by default."""


class Waiting(Sequence[Pending]):
    """The pending requests in order of arrival, as the batcher shows them to a policy.

    Most services know one priority, one cost, no deadline and one tenant. So any other order than that of
    arrival is kept only from the first request on that differs from the others in it, and until none waits
    any more.

    Args:
        pending: those that wait already.
        shares: whose requests they are, where that counts.
    """

    def __init__(self, pending: Iterable[Pending] = (), shares: Shares | None = None) -> None:
        self._shares = shares
        self._line = Line()
        self._last = (-math.inf, 0)
        self._forget_orders()
        self.join(sorted(pending, key=arrival))

    @classmethod
    def of(cls, pending: Sequence[Pending]) -> Waiting | Window:
        """The same requests; the same object where it is one of these already."""
        return pending if isinstance(pending, Waiting | Window) else cls(pending)

    def join(self, arrivals: Iterable[Pending]) -> None:
        """Take some in. They may have been overtaken, since several threads decode."""
        line, shares = self._line, self._shares
        for each in arrivals:
            request = each.request
            if not line:
                self._priority, self._cost = request.priority, each.cost
                self._tenant = "" if shares is None else shares.tenant_of(request)
            place = arrival(each)
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
                or (shares is not None and shares.tenant_of(request) != self._tenant)
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

    def by_arrival(self) -> Iterator[Pending]:
        """The oldest first."""
        return iter(self._line)

    def sorted_in_turn(self, chosen: Iterable[Pending], ageing: float) -> list[Pending]:
        """The chosen in turn."""
        return sorted(chosen, key=lambda each: turn(each, ageing))

    def made_of(self, turns: Iterable[Pending]) -> Waiting:
        """The same of some of them."""
        return Waiting(turns)

    def shown(self, now: float, policy: Policy) -> Waiting | Window:
        """What a policy is shown: all, or where several tenants wait those whose turn it is.

        Those that have expired are among them.
        """
        tenants = self._tenants
        if tenants is None or len(tenants) == 1:
            return self
        expired = self.expired(now)
        costs_differ = self._by_cost is not None and self._by_cost.differ
        may_choose = costs_differ or (self._by_deadline is not None and len(self._by_deadline) > len(expired))
        turns = tenants.in_turn(policy.ageing if self.has_levels else 0.0, frozenset(expired))
        most = policy.max_batch_size * (WIDE if may_choose else 1)
        return Window(islice(turns, most), expired)

    def charge(self, served: Iterable[Pending]) -> None:
        """Let their tenants pay for these, which still wait."""
        if self._tenants is not None:
            self._tenants.charge(served)

    def is_over_its_share(self, request: Request, most: int) -> bool:
        """Whether one more is beyond its tenant's share of so many that may wait; without shares, always."""
        if self._shares is None or not self._line:
            return True
        tenant = self._shares.tenant_of(request)
        if self._tenants is not None:
            return self._tenants.is_over(tenant, most)
        mine, other = map(self._shares.weight_of, (tenant, self._tenant))
        return tenant == self._tenant or mine + other > most * mine

    def last_of_the_longest(self) -> Pending | None:
        """The one to turn away, of the tenant with the most waiting by its weight; None for none."""
        return None if self._tenants is None else self._tenants.last_of_the_longest()

    def _forget_orders(self) -> None:
        self._levels: Levels | None = None
        self._by_cost: ByCost | None = None
        self._by_deadline: ByDeadline | None = None
        self._tenants: Tenants | None = None
        self._orders: list[Levels | ByCost | ByDeadline | Tenants] = []
        self._suspects = set[Pending]()
        self._priority, self._cost, self._tenant = 0, 1.0, ""

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
        shares = self._shares
        if self._tenants is None and shares and shares.tenant_of(pending.request) != self._tenant:
            self._tenants = Tenants(shares, self._line)
            self._orders.append(self._tenants)


class Turns:
    """Those that wait and have not expired, in every order.

    Each question costs no more than what is looked at of its answer, and what has expired.

    Args:
        waiting: all that are pending.
        expired: those among them whose deadline has passed.
        ageing: how many seconds of waiting one level of priority is worth.
    """

    def __init__(
        self, waiting: Waiting | Window, expired: Sequence[Pending] = (), ageing: float = 0.0
    ) -> None:
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
        return next(self._alive(self._waiting.by_arrival()))

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
        first = takewhile(lambda each: not each.suspect, self)
        return Turns(self._waiting.made_of(first), (), self._ageing)

    def in_turn(self, chosen: Iterable[Pending]) -> tuple[Pending, ...]:
        """The chosen, sorted."""
        return tuple(self._waiting.sorted_in_turn(chosen, self._ageing))

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
            undated = by_deadline.undated_in_turn(self._ageing)
            found += islice(undated, max(0, start - self.dated), end - self.dated)
        return found

    def due_from(self, deadline: float) -> int:
        """The place by deadline of the first that is due then or later."""
        by_deadline = self._waiting.by_deadline
        return 0 if by_deadline is None else max(0, by_deadline.due_from(deadline) - len(self._expired))

    def _alive(self, pending: Iterator[Pending]) -> Iterator[Pending]:
        return filterfalse(self._expired.__contains__, pending) if self._expired else pending
