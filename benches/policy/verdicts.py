"""What is promised of the policy that needs no tuning, and whether it is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

import msgspec

from benches.policy.cells import Cell, Closed, Open, Overload, Padded
from benches.policy.loads import MIDDLE, SLOW, Device
from benches.policy.peers import AUTO, GREEDY
from benches.policy.summary import Found

SHORT_THINK_MS = 1.0
"""Callers with a longer think time are not promised anything."""
MANY, FEW = (5, 10, 20), (2,)


class Verdict(msgspec.Struct, frozen=True):
    """One promise, and what was found."""

    promise: str
    limit: float
    at_most: bool
    """Else it is at least."""
    found: float
    where: str
    """The worst cell, or that it is a mean."""
    mean: float
    """Of all cells that the promise is about."""
    kept: bool


class Promise(msgspec.Struct, frozen=True):
    """For every cell of some kind, a limit of some figure; or for the mean over these cells."""

    text: str
    limit: float
    about: Callable[[Cell], bool]
    figure: Callable[[Found], float]
    at_most: bool = True
    of_mean: bool = False

    def judge(self, found: Sequence[Found]) -> Verdict | None:
        """None where no cell is of that kind."""
        figures = {
            f"{each.cell.device.name}, {each.cell.name}": self.figure(each)
            for each in found
            if self.about(each.cell)
        }
        if not figures:
            return None
        mean = statistics.fmean(figures.values())
        worst = (max if self.at_most else min)(figures, key=lambda name: figures[name])
        value, where = (mean, f"mean of {len(figures)}") if self.of_mean else (figures[worst], worst)
        kept = value <= self.limit if self.at_most else value >= self.limit
        return Verdict(self.text, self.limit, self.at_most, value, where, mean, kept)


def of_auto(found: Found) -> float:
    return found.scores[AUTO].mean


def auto_to_greedy(found: Found) -> float:
    return found.scores[AUTO].over(found.scores[GREEDY])


def is_open(cell: Cell) -> bool:
    """Whether no caller waits for replies."""
    return isinstance(cell, Open)


def in_lock_step(device: Device, callers: Sequence[int]) -> Callable[[Cell], bool]:
    """Whether it is one of the lock steps that something is promised of."""

    def about(cell: Cell) -> bool:
        return (
            isinstance(cell, Closed)
            and cell.device == device
            and cell.callers in callers
            and cell.think_ms <= SHORT_THINK_MS
        )

    return about


PROMISES = (
    Promise(
        "open loads: mean latency to the clairvoyant's, mean of cells", 1.10, is_open, of_auto, of_mean=True
    ),
    Promise("open loads: mean latency to the clairvoyant's, each cell", 1.16, is_open, of_auto),
    Promise("open loads: mean latency to greedy's", 1.01, is_open, auto_to_greedy),
    Promise(
        "5 to 20 callers in lock step on 150+25b, to T(callers)", 1.05, in_lock_step(SLOW, MANY), of_auto
    ),
    Promise("5 to 20 callers in lock step on 20+b, to T(callers)", 1.12, in_lock_step(MIDDLE, MANY), of_auto),
    Promise("2 callers in lock step on 150+25b, to T(callers)", 1.10, in_lock_step(SLOW, FEW), of_auto),
    Promise("2 callers in lock step on 20+b, to T(callers)", 1.15, in_lock_step(MIDDLE, FEW), of_auto),
    Promise(
        "overload: answered in time, to the most that can be",
        0.97,
        lambda cell: isinstance(cell, Overload),
        of_auto,
        at_most=False,
    ),
    Promise(
        "padded backlog: throughput to first-in-first-out's",
        2.2,
        lambda cell: isinstance(cell, Padded),
        of_auto,
        at_most=False,
    ),
)


def verdicts(found: Sequence[Found]) -> Iterator[Verdict]:
    """On each promise that some cell bears on."""
    for promise in PROMISES:
        verdict = promise.judge(found)
        if verdict is not None:
            yield verdict
