"""Which of the pending requests go together.

Where all can be in time, those whose batch does the most work in a second: the first few in turn
(`best_prefix`), or neighbours in cost where padding counts (`best_window`). Otherwise `choose_in_time`:

Refusing only what has expired spends the device on requests that expire while they are computed: at a load of
1.3 a third as many are answered in time as could be. So some are passed over, and the question is how many.
The pending are sorted by deadline. For k = 0, 1, ... the first k are passed over, and the batch is as large
as the next one's deadline allows; the smallest k with the best rate wins (window drop-head).

Of those passed over, the ones that would be late even if they were started alone and now are too late; to the
others another executor, or this one later, may yet come. A request without a deadline is never too late; once
its turn has come it has a place in the batch, or it would starve.

Where all cost the same, only a later deadline allows a larger batch, so k goes on to the first that is late
enough. Where costs differ it goes on one by one, but only for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from rpcb_trio._batching._limits import Limits
from rpcb_trio._batching._orders import deadline_of
from rpcb_trio._batching._waiting import Turns
from rpcb_trio._messages import Pending, Work

Predict = Callable[[Work], float]
"""How many seconds a batch of such work takes."""
STEPS = 64
"""So many are passed over one by one for their costs; then only for their deadlines."""


class Choice(msgspec.Struct, frozen=True):
    """Which are refused because it is too late for them, and which are computed now."""

    too_late: tuple[Pending, ...]
    batch: tuple[Pending, ...]
    is_pressed: bool = False
    """Whether deadlines decided it."""


def best_prefix(turns: Turns, limits: Limits, predict: Predict) -> tuple[Pending, ...]:
    """The first few of `turns`, as many as make the best rate; for work that padding does not make dearer.

    Args:
        turns: pending requests, at least one.
        limits: bounds of the batch.
        predict: what a batch takes.
    """
    first = tuple(islice(turns, limits.max_batch_size))
    return first[: best_count([each.cost for each in first], limits, predict)]


def best_count(costs: Sequence[float], limits: Limits, predict: Predict) -> int:
    """How many of the first of these costs make the best rate."""
    work = Work(0, 0.0, 0.0)
    best, best_rate = 1, 0.0
    for cost in costs:
        work = work.joined_by(cost)
        if not limits.allow(work):
            break
        rate = _work_rate(work, predict)
        if rate >= best_rate:
            best, best_rate = work.size, rate
    return best


def best_window(turns: Turns, limits: Limits, predict: Predict) -> tuple[Pending, ...]:
    """Neighbours in cost around the first of `turns`, which is among them, so that none starves.

    Short items in a batch with a long one cost as much as the long one. The rate that counts is the items'
    own cost a second: amortised overhead and padding are weighed against each other by what was learned.
    Returned in turn.

    Args: as `best_prefix`.
    """
    most, most_padded = limits.max_batch_size, limits.max_padded
    shorter = list(islice(turns.shorter(), most - 1))
    by_cost = [*reversed(shorter), *islice(turns.longer(), most)]
    costs = [each.cost for each in by_cost]
    head = len(shorter)
    best, best_rate = (head, head + 1), 0.0
    for longest in range(head, len(costs)):
        total = sum(costs[longest:head:-1], 0.0)
        last = 0.0
        for shortest in range(head, -1, -1):
            total += costs[shortest]
            size = longest - shortest + 1
            if size > 1 and (size > most or size * costs[longest] > most_padded):
                break
            rate = _work_rate(Work(size, costs[longest], total), predict)
            if rate < last and not limits.has_steps:
                break  # still shorter ones would gain still less, and cost the same
            last = rate
            if rate >= best_rate:
                best, best_rate = (shortest, longest + 1), rate
    return turns.in_turn(by_cost[slice(*best)])


def choose_in_time(turns: Turns, now: float, limits: Limits, predict: Predict) -> Choice:
    """Choose the batch after which the most can still be answered in time.

    Args:
        turns: at least one, and no suspect.
        now: when the batch would be closed.
        limits: bounds of the batch.
        predict: what a batch takes, in seconds, with whatever margin is prudent.
    """
    head = turns.head
    always = (head,) if deadline_of(head) == math.inf else ()
    search = _Search(turns, always, now, limits, predict)
    best = search.best()
    longest = turns.largest_cost
    hopeless = turns.due_from(now + predict(Work(1, longest, longest)))  # at most those before it
    too_late = tuple(
        each
        for each in turns.by_deadline(0, min(best.passed_over, hopeless))
        if now + predict(Work(1, each.cost, each.cost)) > deadline_of(each)
    )
    return Choice(too_late, always + search.candidates(best.passed_over, best.served), is_pressed=True)


class _Candidate(NamedTuple):
    passed_over: int
    served: int
    """How many after those."""
    rate: float


class _Search:
    """All but those that are served `always`, by deadline."""

    def __init__(
        self, turns: Turns, always: tuple[Pending, ...], now: float, limits: Limits, predict: Predict
    ) -> None:
        self._turns = turns
        self._start = Work.of([each.cost for each in always]) if always else Work(0, 0.0, 0.0)
        self._now = now
        self._limits = limits
        self._predict = predict
        self._count = len(turns) - len(always)
        self._places = limits.max_batch_size - len(always)

    def candidates(self, passed_over: int, count: int) -> tuple[Pending, ...]:
        """The next ones once so many are passed over."""
        dated, skipped = self._turns.dated, self._start.size
        if passed_over + count <= dated:
            return tuple(self._turns.by_deadline(passed_over, passed_over + count))
        before = self._turns.by_deadline(passed_over, dated)
        after = max(passed_over, dated) + skipped  # the one always served is the first without a deadline
        return (*before, *self._turns.by_deadline(after, passed_over + count + skipped))

    def best(self) -> _Candidate:
        """How many to pass over."""
        start = self._start
        best = _Candidate(self._count, 0, _rate(start.size, self._predict(start) if start.size else 0.0))
        position = fit = steps = 0
        while self._places and position < self._count and self._count - position >= best.served:
            served, seconds, due = self._largest(position, fit)
            rate = _rate(start.size + served, seconds)
            if served and rate > best.rate:
                best = _Candidate(position, served, rate)
            if served == self._places:
                break
            steps += bool(best.served or start.size)  # until then, all that are passed over leave
            if self._turns.costs_differ and steps < STEPS:
                position, fit = position + 1, max(0, served - 1)
                continue
            later = self._turns.due_from(due)
            if later <= position:
                break
            position, fit = later, 0 if self._turns.costs_differ else served
        return best

    def _largest(self, position: int, fit: int) -> tuple[int, float, float]:
        """How many from there on can be served in time, in how many seconds, and when one more would be.

        So many are known to `fit`.
        """
        candidates = self.candidates(position, self._places)
        costs = [each.cost for each in candidates]
        deadline = deadline_of(candidates[0])
        served = min(fit, len(costs))
        start = self._start
        work = Work(
            start.size + served, max(start.longest, *costs[:served], 0.0), sum(costs[:served], start.total)
        )
        seconds = self._predict(work) if served else 0.0
        for cost in costs[served:]:
            work = work.joined_by(cost)
            if not self._limits.allow(work):
                break
            takes = self._predict(work)
            if self._now + takes > deadline:
                return served, seconds, self._now + takes
            served, seconds = served + 1, takes
        return served, seconds, math.inf


def _rate(done: float, seconds: float) -> float:
    if done == 0:
        return 0.0
    return done / seconds if seconds > 0 else math.inf


def _work_rate(work: Work, predict: Predict) -> float:
    """Before a time is known, the largest batch is the best."""
    seconds = predict(work)
    return (work.total or work.size) / seconds if seconds > 0 else float(work.size)
