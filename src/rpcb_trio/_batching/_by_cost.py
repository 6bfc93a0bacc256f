"""Requests by cost."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from rpcb_trio._batching._cut import cut
from rpcb_trio._batching._line import Levels
from rpcb_trio._messages import Pending


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
        """Give their places up."""
        costs = list[float]()
        for each in leaving:
            levels = self._levels[each.cost]
            levels.leave((each,))
            if not levels:
                del self._levels[each.cost]
                costs.append(each.cost)
        if costs:
            cut(self._costs, costs)

    def up_from(self, cost: float, ageing: float) -> Iterator[Pending]:
        """Those of this cost or more, the smallest first; equals in turn."""
        for index in range(bisect_left(self._costs, cost), len(self._costs)):
            yield from self._levels[self._costs[index]].in_turn(ageing)

    def down_from(self, cost: float, ageing: float) -> Iterator[Pending]:
        """Those of less than this cost, the largest first; of equals the last in turn first."""
        for index in range(bisect_left(self._costs, cost) - 1, -1, -1):
            yield from self._levels[self._costs[index]].last_in_turn(ageing)
