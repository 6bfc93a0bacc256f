"""Whose turn it is among the tenants whose requests wait.

Deficit round robin: in each round every tenant is given a quantum for each of its shares, and is served what
it can pay for; what it can't pay for waits for later rounds. A large quantum lets one tenant have many in a
row, a small one makes many rounds in which nobody can pay. Here the quantum is as small as can be, and the
rounds in which nobody can pay are skipped: all that counts is in which round (a real number) a request is
paid for.

    a tenant's next request is paid for in round     paid + cost / weight
    the request that is paid for first is next; then the tenant's `paid` is that round
    a tenant that comes anew begins in the present round; what is served moves that on by cost / all weights

So, as long as requests of two tenants wait, what one was served by its weight differs from what the other was
served by no more than the largest cost of each by its weight.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from itertools import filterfalse
from typing import Final, TypeAlias

from rpcb_trio._batching._orders import Levels, arrival
from rpcb_trio._messages import Pending
from rpcb_trio._shares import Shares

CHEAPEST: Final = 1 / 32
"""Of the dearest request that is first of its tenant: so much, at least, counts for each. A place in a batch
is never free, and a tenant whose requests cost nothing would keep all others waiting."""


class _Tenant:
    __slots__ = ("count", "head", "levels", "name", "paid", "weight")

    def __init__(self, name: str, weight: float, paid: float) -> None:
        self.name = name
        self.weight = weight
        self.paid = paid
        self.levels = Levels()
        self.count = 0
        self.head: Pending | None = None
        """The first in turn, if that is known."""

    @property
    def length(self) -> float:
        """How many wait, for each share."""
        return self.count / self.weight

    def line(self, ageing: float, gone: Container[Pending]) -> Iterator[Pending]:
        """All but those that are gone, in their own turn."""
        return filterfalse(gone.__contains__, self.levels.in_turn(ageing))


_Turn: TypeAlias = tuple[float, float, int, int, Pending]
"""In which round it is paid for, its arrival, its tag, its tenant's number, the request."""


def _turn(pending: Pending, tenant: _Tenant, paid: float, number: int, least: float) -> _Turn:
    paid += (max(least, pending.cost)) / tenant.weight
    return paid, *arrival(pending), number, pending


class Tenants:
    """The pending requests by their tenants; a tenant is known as long as one of its requests waits."""

    def __init__(self, shares: Shares, pending: Iterable[Pending] = ()) -> None:
        self._shares = shares
        self._tenants: dict[str, _Tenant] = {}
        self._of: dict[Pending, _Tenant] = {}
        self._weight = 0.0
        self._round = 0.0
        self._least = 0.0
        self._ageing = 0.0
        for each in pending:
            self.join(each)

    def __len__(self) -> int:
        """How many tenants there are."""
        return len(self._tenants)

    def join(self, pending: Pending) -> None:
        """Take a place in the line of its tenant."""
        name = self._shares.tenant_of(pending.request)
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(name, self._shares.weight_of(name), self._round)
            self._weight += tenant.weight
        self._of[pending] = tenant
        tenant.levels.join(pending)
        tenant.count += 1
        tenant.head = None

    def leave(self, leaving: Iterable[Pending]) -> None:
        """Leave the lines of their tenants."""
        for each in leaving:
            tenant = self._of.pop(each)
            tenant.levels.leave((each,))
            tenant.count -= 1
            tenant.head = None
            if not tenant.count:
                del self._tenants[tenant.name]
                self._weight -= tenant.weight

    def charge(self, served: Iterable[Pending]) -> None:
        """Let their tenants pay for these, which still wait."""
        total = 0.0
        for each in served:
            tenant = self._of[each]
            cost = max(each.cost, self._least)
            tenant.paid += cost / tenant.weight
            total += cost
        self._round += total / self._weight

    def in_turn(self, ageing: float, gone: Container[Pending]) -> Iterator[Pending]:
        """All but those that are `gone`, the next one first; those of one tenant are in their own turn.

        A suspect runs alone: it comes as the first of all, or not at all.
        """
        heads = list(self._heads(ageing, gone))
        self._least = least = CHEAPEST * max((head.cost for head, _ in heads), default=0.0)
        turns = [
            _turn(head, tenant, tenant.paid, number, least) for number, (head, tenant) in enumerate(heads)
        ]
        heapify(turns)
        if turns and turns[0][-1].suspect:
            yield turns[0][-1]
            return
        lines: dict[int, Iterator[Pending]] = {}
        while turns:
            paid, _, _, number, now = turns[0]
            if now.suspect:
                heappop(turns)
                continue
            yield now
            tenant = heads[number][1]
            line = lines.get(number)
            if line is None:
                line = lines[number] = tenant.line(ageing, gone)
                next(line)
            after = next(line, None)
            if after is None:
                heappop(turns)
            else:
                heapreplace(turns, _turn(after, tenant, paid, number, least))

    def _heads(self, ageing: float, gone: Container[Pending]) -> Iterator[tuple[Pending, _Tenant]]:
        """The first of each tenant. It is looked for only where one has come or gone."""
        is_known = ageing == self._ageing
        self._ageing = ageing
        for tenant in self._tenants.values():
            head = tenant.head if is_known else None
            if head is None:
                head = tenant.head = next(tenant.levels.in_turn(ageing))
            alive = next(tenant.line(ageing, gone), None) if head in gone else head
            if alive is not None:
                yield alive, tenant

    def is_over(self, name: str, most: int) -> bool:
        """Whether one more request of a tenant would be more than its share of so many that may wait."""
        tenant = self._tenants.get(name)
        if tenant is not None:
            return (tenant.count + 1) * self._weight > most * tenant.weight
        weight = self._shares.weight_of(name)
        return self._weight + weight > most * weight

    def last_of_the_longest(self) -> Pending | None:
        """What makes room: of the tenant with the most waiting by its weight the last in turn.

        Redelivered requests were admitted before, and are never turned away; None where all are.
        """
        for tenant in sorted(self._tenants.values(), key=lambda each: each.length, reverse=True):
            for each in tenant.levels.last_in_turn(1.0):
                if not each.request.redelivered:
                    return each
        return None
