"""Whom to serve when not everybody can be served in time.

Dropping only what has expired spends the device on requests that expire while they are computed: at a load of
1.3 a third as many are answered in time as could be. So some are passed over, and the question is how many.
The pending are sorted by deadline. For k = 0, 1, ... the first k are passed over, and the batch is as large
as the next one's deadline allows; the smallest k with the best rate wins (window drop-head).

Of those passed over, the ones that would be late even if they were started alone and now are given up; to the
others another executor, or this one later, may yet come. A request without a deadline is never given up; once
its turn has come it has a place in the batch, or it would starve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from rpcb_trio._batching._limits import Limits
from rpcb_trio._batching._policy import deadline_of
from rpcb_trio._batching._window import Predict
from rpcb_trio._messages import Pending, Work


class Choice(msgspec.Struct, frozen=True):
    """Who is given up, and who is computed now."""

    given_up: tuple[Pending, ...]
    batch: tuple[Pending, ...]
    is_pressed: bool = False
    """Whether deadlines decided it."""


class _Chosen(msgspec.Struct, frozen=True):
    """So many are passed over, and so many after them are served."""

    passed_over: int
    served: int
    rate: float


def choose_in_time(turns: Sequence[Pending], now: float, limits: Limits, predict: Predict) -> Choice:
    """Choose the batch after which the most can still be answered in time.

    Args:
        turns: not expired, at least one, in turn.
        now: when the batch would be closed.
        limits: bounds of the batch.
        predict: what a batch takes, in seconds, with whatever margin is prudent.
    """
    always = tuple(turns[:1]) if deadline_of(turns[0]) == math.inf else ()
    by_deadline = sorted(turns[len(always) :], key=deadline_of)
    best = _best(by_deadline, always, now, limits, predict)
    given_up = tuple(
        each
        for each in by_deadline[: best.passed_over]
        if now + predict(Work(1, each.cost, each.cost)) > deadline_of(each)
    )
    end = best.passed_over + best.served
    return Choice(given_up, always + tuple(by_deadline[best.passed_over : end]), is_pressed=True)


def _best(
    by_deadline: Sequence[Pending], always: Sequence[Pending], now: float, limits: Limits, predict: Predict
) -> _Chosen:
    start = Work.of([each.cost for each in always]) if always else Work(0, 0.0, 0.0)
    seconds = predict(start) if always else 0.0
    best = _Chosen(len(by_deadline), 0, _rate(start.size, seconds))
    places = limits.max_batch_size - start.size
    for passed_over in range(len(by_deadline)):
        if len(by_deadline) - passed_over < best.served:
            break  # fewer are left than were served at the best rate
        candidates = by_deadline[passed_over : passed_over + places]
        served, seconds = _largest(candidates, start, now, limits, predict)
        rate = _rate(start.size + served, seconds)
        if served and rate > best.rate:
            best = _Chosen(passed_over, served, rate)
        if served == places:
            break
    return best


def _largest(
    candidates: Sequence[Pending], work: Work, now: float, limits: Limits, predict: Predict
) -> tuple[int, float]:
    """How many candidates can join `work` by the first one's deadline, and in what time all is done."""
    served, seconds = 0, 0.0
    for each in candidates:
        work = work.joined_by(each.cost)
        if not limits.allow(work):
            break
        takes = predict(work)
        if now + takes > deadline_of(candidates[0]):
            break
        served, seconds = served + 1, takes
    return served, seconds


def _rate(size: int, seconds: float) -> float:
    if size == 0:
        return 0.0
    return size / seconds if seconds > 0 else math.inf
