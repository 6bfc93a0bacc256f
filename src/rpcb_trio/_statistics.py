"""Percentiles, and the line through service times: the one definition of each."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

STRAIGHT = 1e-12
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


def fit_line(works: Sequence[float], times: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """The fixed part and the slope of `time = fixed + slope * work`, neither of them negative.

    They have the least weighted squares of relative errors. All times are positive. Where all works are
    alike nothing tells the two apart, and the slope is 0.
    """
    ones = both = squares = fixes = slopes = 0.0
    for work, time, weight in zip(works, times, weights, strict=True):
        one, grown = 1 / time, work / time
        ones += weight * one * one
        both += weight * one * grown
        squares += weight * grown * grown
        fixes += weight * one
        slopes += weight * grown
    determinant = ones * squares - both * both
    if determinant <= STRAIGHT * ones * squares:
        return fixes / ones, 0.0
    fixed = (fixes * squares - slopes * both) / determinant
    slope = (slopes * ones - fixes * both) / determinant
    if slope < 0:
        return fixes / ones, 0.0
    return (fixed, slope) if fixed >= 0 else (0.0, slopes / squares)
