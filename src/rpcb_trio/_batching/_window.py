"""What a policy is shown where several tenants wait: the requests whose turn it is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

from rpcb_trio._batching._orders import arrival, deadline_of
from rpcb_trio._messages import Pending


class Window(Sequence[Pending]):
    """Requests in turn, the next one first; they don't change. It answers what `Waiting` does.

    Args:
        turns: those that have not expired.
        expired: those that have, in order of arrival; they come before the others.
    """

    has_levels = False
    """Priorities count within a tenant only, and are in the order already."""

    def __init__(self, turns: Iterable[Pending], expired: Sequence[Pending] = ()) -> None:
        self._turns = [*expired, *turns]
        self._expired = tuple(expired)

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._turns)

    @overload
    def __getitem__(self, index: int) -> Pending: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pending]: ...

    def __getitem__(self, index: int | slice) -> Pending | list[Pending]:
        return self._turns[index]

    @property
    def has_suspects(self) -> bool:
        """Whether there is one that must run alone."""
        return bool(self._turns) and self._turns[-1].suspect  # see `Tenants.in_turn`

    @cached_property
    def by_cost(self) -> _ByCost | None:
        """All by cost; None where all cost the same."""
        costs = {each.cost for each in self._turns}
        return _ByCost(self._turns) if len(costs) > 1 else None

    @cached_property
    def by_deadline(self) -> _ByDeadline | None:
        """All by deadline; None where none has one."""
        dated = any(each.request.deadline is not None for each in self._turns)
        return _ByDeadline(self._turns) if dated else None

    def expired(self, now: float) -> tuple[Pending, ...]:  # noqa: ARG002 - it was made at that time
        """All whose deadline has passed, in order of arrival."""
        return self._expired

    def in_turn(self, ageing: float) -> Iterator[Pending]:  # noqa: ARG002 - see `has_levels`
        """The first in turn first."""
        return iter(self._turns)

    def by_arrival(self) -> Iterator[Pending]:
        """The oldest first."""
        return iter(sorted(self._turns, key=arrival))

    def sorted_in_turn(self, chosen: Iterable[Pending], ageing: float) -> list[Pending]:  # noqa: ARG002 - likewise
        """The chosen in turn."""
        places = {each: place for place, each in enumerate(self._turns)}
        return sorted(chosen, key=places.__getitem__)

    def made_of(self, turns: Iterable[Pending]) -> Window:
        """The same of some of them, which are in turn."""
        return Window(turns)


class _ByCost:
    def __init__(self, turns: Sequence[Pending]) -> None:
        self._sorted = sorted(turns, key=lambda each: each.cost)
        self._costs = [each.cost for each in self._sorted]

    @property
    def largest(self) -> float:
        return self._costs[-1]

    @property
    def differ(self) -> bool:
        return True

    def up_from(self, cost: float, ageing: float) -> Iterator[Pending]:  # noqa: ARG002 - as `ByCost`
        return iter(self._sorted[bisect_left(self._costs, cost) :])

    def down_from(self, cost: float, ageing: float) -> Iterator[Pending]:  # noqa: ARG002 - as `ByCost`
        return reversed(self._sorted[: bisect_left(self._costs, cost)])


class _ByDeadline:
    def __init__(self, turns: Sequence[Pending]) -> None:
        dated = [each for each in turns if each.request.deadline is not None]
        self._sorted = sorted(dated, key=deadline_of)
        self._deadlines = [deadline_of(each) for each in self._sorted]
        self._undated = [each for each in turns if each.request.deadline is None]

    def __len__(self) -> int:
        return len(self._sorted)

    def undated_in_turn(self, ageing: float) -> Iterator[Pending]:  # noqa: ARG002 - as `ByDeadline`
        return iter(self._undated)

    def due_from(self, deadline: float) -> int:
        return bisect_left(self._deadlines, deadline)

    def between(self, start: int, end: int) -> list[Pending]:
        return self._sorted[start:end]
