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
ALIKE = 1e-12
"""A determinant of less than this share of its product says that all works are alike."""


class Node:
    """What was seen near one work."""

    __slots__ = ("count", "height", "work")

    def __init__(self, work: float, height: float, count: int) -> None:
        self.work = work
        self.height = height
        """The logarithm of the time, at a speed of the machine that all nodes share."""
        self.count = count
        """How many batches it is the mean of; 0 if the next one takes the place of its only one."""


class Shape:
    """A time (of no unit) for each work of 0 or more; positive, and never less for more work.

    Args:
        nodes: at least one, in order of their works, which are distinct.
        variances: of each node's height.
        misfit: the variance of the nodes around the line, as the last fit left it.
    """

    __slots__ = ("_fixed", "_heights", "_slope", "_works", "misfit")

    def __init__(
        self, nodes: Sequence[Node], variances: Sequence[float], misfit: float = FIRST_MISFIT
    ) -> None:
        self._works = works = [node.work for node in nodes]
        times = [exp(node.height) for node in nodes]
        weights = [1 / (variance + misfit) for variance in variances]
        fixed, self._slope = fit_line(works, times, weights, prior=UNDECIDED)
        self._fixed = max(fixed, LEAST_FIXED * min(times))
        line = [self._fixed + self._slope * work for work in works]
        above = [node.height - log(by_line) for node, by_line in zip(nodes, line, strict=True)]
        self.misfit = _misfit(above, weights, misfit)
        bent = [
            by_line * exp(excess * self.misfit / (self.misfit + variance))
            for by_line, excess, variance in zip(line, above, variances, strict=True)
        ]
        # level every fall: halfway between what must be raised and what must be lowered
        lowered = [*accumulate(reversed(bent), min)]
        self._heights = [(a + b) / 2 for a, b in zip(accumulate(bent, max), reversed(lowered), strict=True)]

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


def fit_line(
    works: Sequence[float], times: Sequence[float], weights: Sequence[float], *, prior: float = 0.0
) -> tuple[float, float]:
    """Fit time = fixed + slope * work, with the least weighted squares of relative errors.

    Args:
        works: 0 or more, at least one.
        times: as many, above 0.
        weights: as many, above 0.
        prior: the weight of the belief that the fixed part equals the growing part of the mean batch.

    Returns:
        The fixed part and the slope, neither negative. Where all works are alike, and no prior tells the two
        parts apart, all of it is fixed.
    """
    unit = max(works) or 1.0  # so that the unit of work does no harm to the sums
    ones = products = squares = fixes = slopes = 0.0
    for work, time, weight in zip(works, times, weights, strict=True):
        one, grown = 1 / time, work / unit / time
        ones += weight * one * one
        products += weight * one * grown
        squares += weight * grown * grown
        fixes += weight * one
        slopes += weight * grown
    total = sum(weights)
    one, grown = fixes / total, slopes / total
    a00, a01, a11 = ones + prior * one * one, products - prior * one * grown, squares + prior * grown * grown
    determinant = a00 * a11 - a01 * a01
    if determinant <= ALIKE * a00 * a11:
        return fixes / ones, 0.0
    fixed = (fixes * a11 - slopes * a01) / determinant
    slope = (slopes * a00 - fixes * a01) / determinant
    if slope <= 0:
        return fixes / ones, 0.0
    if fixed < 0:
        return 0.0, slopes / squares / unit
    return fixed, slope / unit


def _misfit(above: Sequence[float], weights: Sequence[float], misfit: float) -> float:
    """The variance around the line for which the weighted squares come out as they should: one step to it."""
    freedom = len(above) - 2
    if freedom < 1:
        return FIRST_MISFIT
    excess = sum(weight * each * each for weight, each in zip(weights, above, strict=True))
    fall = sum((weight * each) ** 2 for weight, each in zip(weights, above, strict=True))
    if not fall:
        return 0.0
    return min(max(0.0, misfit + (excess - freedom) / fall), LARGEST_MISFIT)
