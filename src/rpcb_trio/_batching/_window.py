"""Which of the pending requests go together: those whose batch does the most useful work in a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rpcb_trio._batching._limits import Limits
from rpcb_trio._messages import Pending, Work

Predict = Callable[[Work], float]
"""How many seconds a batch of such work takes."""


def best_prefix(turns: Sequence[Pending], limits: Limits, predict: Predict) -> tuple[Pending, ...]:
    """The first few of `turns`, as many as make the best rate; for work that padding does not make dearer.

    Args:
        turns: pending requests, at least one, in turn.
        limits: bounds of the batch.
        predict: what a batch takes.
    """
    work = Work(0, 0.0, 0.0)
    best, best_rate = 1, 0.0
    for each in turns:
        work = work.joined_by(each.cost)
        if not limits.allow(work):
            break
        rate = _rate(work, predict)
        if rate >= best_rate:
            best, best_rate = work.size, rate
    return tuple(turns[:best])


def best_window(turns: Sequence[Pending], limits: Limits, predict: Predict) -> tuple[Pending, ...]:
    """Neighbours in cost around the first of `turns`, which is among them, so that nobody starves.

    Short items in a batch with a long one cost as much as the long one. The rate that counts is the items'
    own cost a second: amortised overhead and padding are weighed against each other by what was learned.
    Returned in turn.

    Args: as `best_prefix`.
    """
    by_cost = sorted(range(len(turns)), key=lambda turn: turns[turn].cost)
    head = by_cost.index(0)
    best, best_rate = (head, head + 1), 0.0
    for longest in range(head, min(len(turns), head + limits.max_batch_size)):
        work = Work(0, 0.0, 0.0)
        longest_cost = turns[by_cost[longest]].cost
        last = 0.0
        for shortest in range(longest, -1, -1):
            work = Work(work.size + 1, longest_cost, work.total + turns[by_cost[shortest]].cost)
            if not limits.allow(work):
                break
            if shortest > head:
                continue
            rate = _rate(work, predict)
            if rate < last and not limits.has_steps:
                break  # still shorter ones would gain still less, and cost the same
            last = rate
            if rate >= best_rate:
                best, best_rate = (shortest, longest + 1), rate
    return tuple(turns[turn] for turn in sorted(by_cost[slice(*best)]))


def _rate(work: Work, predict: Predict) -> float:
    seconds = predict(work)
    return (work.total or work.size) / seconds if seconds > 0 else float(work.size)
