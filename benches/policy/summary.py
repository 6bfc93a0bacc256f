"""Cells are measured on all processors; figures of several seeds become means with standard errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context

import msgspec

from benches.policy.cells import Cell
from benches.policy.peers import is_fixed

BEST_FIXED = "best fixed"


class Job(msgspec.Struct, frozen=True):
    place: int
    """Of the cell among all of them."""
    cell: Cell
    seed: int


class Measured(msgspec.Struct, frozen=True):
    """What came of a job: the bound, and each policy's figure."""

    job: Job
    bound: float
    figures: Mapping[str, float]


class Score(msgspec.Struct, frozen=True):
    """A policy's figures over the bounds, for each seed."""

    ratios: tuple[float, ...]
    mean: float
    error: float
    """The standard error of the mean; NaN for one seed."""

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Score:
        error = statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
        return cls(tuple(ratios), statistics.fmean(ratios), error)

    def over(self, other: Score) -> float:
        """How the figures compare to another policy's, seed by seed; the mean."""
        return statistics.fmean(a / b for a, b in zip(self.ratios, other.ratios, strict=True))

    @property
    def text(self) -> str:
        return f"{self.mean:.3f}" + ("" if math.isnan(self.error) else f" [dim]±{self.error:.3f}[/]")


class Found(msgspec.Struct, frozen=True):
    cell: Cell
    bound: float
    """The mean over the seeds, in seconds, or as the cell says."""
    scores: Mapping[str, Score]

    def best_fixed(self) -> tuple[str, Score]:
        """The best of those set by hand, chosen for this very cell when all was over, and its name."""
        fixed = [(name, score) for name, score in self.scores.items() if is_fixed(name)]
        choose = min if self.cell.is_less_better else max
        return choose(fixed, key=lambda each: each[1].mean)


def measure(job: Job) -> Measured:
    """Let each policy serve the same load."""
    cell, seed = job.cell, job.seed
    figures = {name: cell.figure(make(), seed) for name, make in cell.rivals.items()}
    return Measured(job, cell.bound(seed), figures)


def measure_all(
    cells: Sequence[Cell], seeds: int, processes: int, tell: Callable[[], None] = lambda: None
) -> list[Found]:
    """Measure each cell with seeds 0, 1, ...; `tell` is called as each of these is done.

    The result does not depend on the number of processes.
    """
    jobs = [Job(place, cell, seed) for place, cell in enumerate(cells) for seed in range(seeds)]
    measured: list[list[Measured]] = [[] for _ in cells]
    with _mapping(processes) as run:
        for each in run(jobs):
            measured[each.job.place].append(each)
            tell()
    return [_summed_up(sorted(each, key=lambda one: one.job.seed)) for each in measured]


def _summed_up(measured: Sequence[Measured]) -> Found:
    scores = {
        policy: Score.of([each.figures[policy] / each.bound for each in measured])
        for policy in measured[0].figures
    }
    return Found(measured[0].job.cell, statistics.fmean(each.bound for each in measured), scores)


@contextmanager
def _mapping(processes: int) -> Iterator[Callable[[Sequence[Job]], Iterator[Measured]]]:
    if processes == 1:
        yield lambda jobs: map(measure, jobs)
        return
    with get_context("spawn").Pool(processes) as pool:  # a fork would copy the progress bar's thread
        yield lambda jobs: pool.imap_unordered(measure, jobs)
