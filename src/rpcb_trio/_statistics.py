"""Percentiles, and the line through service times: the one definition of each."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

ALIKE = 1e-12
"""Where the determinant is a smaller share of its parts, all works are alike."""


def percentile(ordered: Sequence[float], percent: float, ranks: Sequence[float] | None = None) -> float:
    """The least of the values that `percent` % (0 to 100) of them do not exceed; NaN where there are none.

    Args:
        ordered: the values, the least first.
        percent: of the values, or of their weight.
        ranks: for values that have weights, the running sum of these.
    """
    if not ordered:
        return math.nan
    ranks = range(1, len(ordered) + 1) if ranks is None else ranks
    place = bisect_left(ranks, percent / 100 * ranks[-1])
    return ordered[min(place, len(ordered) - 1)]


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
