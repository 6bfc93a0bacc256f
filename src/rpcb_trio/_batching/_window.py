"""Which of the pending requests go together: those whose batch does the most useful work in a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from rpcb_trio._batching._limits import Limits
from rpcb_trio._batching._turns import Turns
from rpcb_trio._messages import Pending, Work

Predict = Callable[[Work], float]
"""How many seconds a batch of such work takes."""


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
        rate = _rate(work, predict)
        if rate >= best_rate:
            best, best_rate = work.size, rate
    return best


def best_window(turns: Turns, limits: Limits, predict: Predict) -> tuple[Pending, ...]:
    """Neighbours in cost around the first of `turns`, which is among them, so that nobody starves.

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
            rate = _rate(Work(size, costs[longest], total), predict)
            if rate < last and not limits.has_steps:
                break  # still shorter ones would gain still less, and cost the same
            last = rate
            if rate >= best_rate:
                best, best_rate = (shortest, longest + 1), rate
    return turns.in_turn(by_cost[slice(*best)])


def _rate(work: Work, predict: Predict) -> float:
    seconds = predict(work)
    return (work.total or work.size) / seconds if seconds > 0 else float(work.size)
