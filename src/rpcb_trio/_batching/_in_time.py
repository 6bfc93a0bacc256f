"""Whom to serve when not everybody can be served in time.

Dropping only what has expired spends the device on requests that expire while they are computed: at a load of
1.3 a third as many are answered in time as could be. So some are given up before, and the question is how
many. The pending are sorted by deadline. For k = 0, 1, ... the first k are given up, and the batch is as
large as the next one's deadline allows; the smallest k with the best rate wins (window drop-head).
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


def choose_in_time(pending: Sequence[Pending], now: float, limits: Limits, predict: Predict) -> Choice:
    """Choose the batch after which the most can still be answered in time.

    Args:
        pending: not expired, at least one, in any order.
        now: when the batch would be closed.
        limits: bounds of the batch.
        predict: what a batch takes, in seconds, with whatever margin is prudent.
    """
    by_deadline = sorted(pending, key=deadline_of)
    best = Choice(tuple(by_deadline), ())
    best_rate = 0.0
    for given_up in range(len(by_deadline)):
        if len(by_deadline) - given_up < len(best.batch):
            break  # fewer are left than were served at the best rate
        batch, seconds = _largest(by_deadline, given_up, now, limits, predict)
        if not batch:
            continue
        rate = batch / seconds if seconds > 0 else math.inf
        if rate > best_rate:
            best_rate = rate
            end = given_up + batch
            best = Choice(tuple(by_deadline[:given_up]), tuple(by_deadline[given_up:end]))
        if batch == limits.max_batch_size:
            break
    return best


def _largest(
    by_deadline: Sequence[Pending], first: int, now: float, limits: Limits, predict: Predict
) -> tuple[int, float]:
    """How many from `first` on can be done by that one's deadline, and in what time."""
    work = Work(0, 0.0, 0.0)
    size, seconds = 0, 0.0
    for each in by_deadline[first : first + limits.max_batch_size]:
        work = work.joined_by(each.cost)
        takes = predict(work)
        if not limits.allow(work) or now + takes > deadline_of(by_deadline[first]):
            break
        size, seconds = work.size, takes
    return size, seconds
