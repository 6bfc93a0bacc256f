"""Who may go at one decision, and in which turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse, islice, takewhile

from rpcb_trio._batching._by_deadline import deadline_of
from rpcb_trio._batching._line import turn
from rpcb_trio._batching._waiting import Waiting
from rpcb_trio._messages import Pending


class Turns:
    """Those who wait and have not expired.

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
        """Whose turn it is."""
        return next(iter(self))

    @property
    def oldest(self) -> Pending:
        """Who arrived first."""
        return next(self._alive(iter(self._waiting)))

    @property
    def costs_differ(self) -> bool:
        """Whether they may; else all cost the same."""
        by_cost = self._waiting.by_cost
        return by_cost is not None and by_cost.differ

    @property
    def largest_cost(self) -> float:
        """No one costs more."""
        by_cost = self._waiting.by_cost
        return self.head.cost if by_cost is None else by_cost.largest

    @property
    def earliest_deadline(self) -> float:
        """The first of all; infinity where nobody has one."""
        return deadline_of(self.by_deadline(0, 1)[0])

    def before_the_first_suspect(self) -> Turns:
        """Those who may go together. Suspects come at the head of a queue, so there are few before one."""
        if not self._waiting.has_suspects:
            return self
        return Turns(Waiting(takewhile(lambda each: not each.suspect, self)), (), self._ageing)

    def in_turn(self, chosen: Iterable[Pending]) -> tuple[Pending, ...]:
        """The chosen, sorted."""
        return tuple(sorted(chosen, key=lambda each: turn(each, self._ageing)))

    def longer(self) -> Iterator[Pending]:
        """Those who cost as much as the head or more, from it on; the smallest first, equals in turn."""
        by_cost = self._waiting.by_cost
        return iter(self) if by_cost is None else self._alive(by_cost.up_from(self.head.cost, self._ageing))

    def shorter(self) -> Iterator[Pending]:
        """Those who cost less than the head; the largest first, of equals the last in turn."""
        by_cost = self._waiting.by_cost
        return iter(()) if by_cost is None else self._alive(by_cost.down_from(self.head.cost, self._ageing))

    @property
    def dated(self) -> int:
        """How many have a deadline."""
        by_deadline = self._waiting.by_deadline
        return 0 if by_deadline is None else len(by_deadline) - len(self._expired)

    def by_deadline(self, start: int, end: int) -> list[Pending]:
        """Those in places from `start` to before `end` by deadline; who has none comes last, in turn."""
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
