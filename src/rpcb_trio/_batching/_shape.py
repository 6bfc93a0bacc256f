"""The shape of a service time: how it grows with the work, whatever the speed of the machine.

It is a line, a + k * work, fitted to what was seen at a few distinct works (the nodes), and bent towards
those nodes as far as they contradict the line by more than their noise explains. How far that is, is the
between-groups variance of a random-effects model (Paule and Mandel, "Consensus values and weighting
factors", 1982), one Newton step at each fit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import exp, log

UNDECIDED = 3.0
"""The weight of the prior that an average batch's time is half fixed, half growing: any share of 0 to 1 is as
likely as another, so that (a - k * work) / time has a variance of 1/3."""
FIRST_MISFIT = 0.01
"""The variance of the nodes around the line before there are enough nodes to tell: 10 %."""
LARGEST_MISFIT = 1.0
LEAST_FIXED = 1e-3
"""The fixed part is at least this share of the shortest time seen, so that all predictions are positive."""


class Node:
    """What was seen near one work: the logarithm of its time, at a level that all nodes share."""

    __slots__ = ("contradictions", "height", "seen", "weight", "work")

    def __init__(self, work: float, height: float, weight: float, seen: int) -> None:
        self.work = work
        self.height = height
        self.weight = weight
        """How many observations it is worth: the noise's variance over the variance of `height`."""
        self.seen = seen
        """The number of the batch that showed it last."""
        self.contradictions = 0
        """How many of its last batches in a row were too far off to be noise."""


class Shape:
    """A time (of no unit) for each work of 0 or more; positive, and never less for more work.

    Args:
        nodes: at least one, in order of their works, which are distinct.
        noise: the variance of one observation's logarithm.
        misfit: the variance of the nodes around the line, as the last fit left it.
    """

    __slots__ = ("_fixed", "_heights", "_slope", "_works", "misfit")

    def __init__(self, nodes: Sequence[Node], noise: float, misfit: float = FIRST_MISFIT) -> None:
        self._works = [node.work for node in nodes]
        times = [exp(node.height) for node in nodes]
        weights = [1 / (noise / node.weight + misfit) for node in nodes]
        self._fixed, self._slope = _line(self._works, times, weights)
        line = [self._fixed + self._slope * work for work in self._works]
        above = [log(time / by_line) for time, by_line in zip(times, line, strict=True)]
        self.misfit = _misfit(above, weights, misfit)
        bent = [
            by_line * exp(excess * self.misfit / (self.misfit + noise / node.weight))
            for by_line, excess, node in zip(line, above, nodes, strict=True)
        ]
        self._heights = _rising(bent)

    def __call__(self, work: float) -> float:
        """The time for `work`: interpolated between nodes, proportional to the line beyond them."""
        works, heights = self._works, self._heights
        right = bisect_left(works, work)
        if 0 < right < len(works):
            left = right - 1
            share = (work - works[left]) / (works[right] - works[left])
            return heights[left] + share * (heights[right] - heights[left])
        end = min(right, len(works) - 1)
        return heights[end] * (self._fixed + self._slope * work) / (self._fixed + self._slope * works[end])


def _line(works: Sequence[float], times: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """The fixed part and the slope with the least weighted squares of relative errors, neither negative.

    Works are counted in the largest of them, so that the unit of cost does no harm to the sums.
    """
    unit = works[-1] or 1.0
    ones = squares = products = fixes = slopes = 0.0
    for work, time, weight in zip(works, times, weights, strict=True):
        one = 1 / time
        grown = work / unit * one
        ones += weight * one * one
        products += weight * one * grown
        squares += weight * grown * grown
        fixes += weight * one
        slopes += weight * grown
    if not squares:
        return fixes / ones, 0.0
    # the prior: the fixed part equals the growing part of the mean batch, both in units of its time
    one, grown = fixes / sum(weights), slopes / sum(weights)
    a00, a01, a11 = (
        ones + UNDECIDED * one * one,
        products - UNDECIDED * one * grown,
        squares + UNDECIDED * grown * grown,
    )
    determinant = a00 * a11 - a01 * a01
    fixed = (fixes * a11 - slopes * a01) / determinant if determinant > 0 else 0.0
    slope = (slopes * a00 - fixes * a01) / determinant if determinant > 0 else slopes / squares
    if slope <= 0:
        return fixes / ones, 0.0
    least = LEAST_FIXED * min(times)
    if fixed < least:
        return least, slopes / squares / unit
    return fixed, slope / unit


def _misfit(above: Sequence[float], weights: Sequence[float], misfit: float) -> float:
    """The variance around the line for which the weighted squares come out as they should: one step to it."""
    freedom = len(above) - 2
    if freedom < 1:
        return misfit
    excess = sum(weight * each * each for weight, each in zip(weights, above, strict=True))
    fall = sum((weight * each) ** 2 for weight, each in zip(weights, above, strict=True))
    if not fall:
        return 0.0
    return min(max(0.0, misfit + (excess - freedom) / fall), LARGEST_MISFIT)


def _rising(values: Sequence[float]) -> list[float]:
    """The values with every fall levelled: halfway between what must be raised and what must be lowered."""
    raised = accumulate(values, max)
    lowered = list(accumulate(reversed(values), min))
    return [(high + low) / 2 for high, low in zip(raised, reversed(lowered), strict=True)]
