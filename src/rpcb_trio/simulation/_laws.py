"""How long a batch takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from rpcb_trio._messages import Work

Law: TypeAlias = Callable[[Work], float]
"""The true service time of a batch, in seconds.

It is called as the batch starts, in virtual time: one that changes may read `trio.current_time()`, which
begins at 0.
"""


def linear(fixed: float, per_item: float) -> Law:
    """A batch of b takes `fixed + per_item * b` seconds."""

    def seconds(work: Work) -> float:
        return fixed + per_item * work.size

    return seconds


def padded(fixed: float, per_cost: float) -> Law:
    """A batch takes `fixed` seconds, and `per_cost` for its size times the largest cost in it."""

    def seconds(work: Work) -> float:
        return fixed + per_cost * work.padded

    return seconds
