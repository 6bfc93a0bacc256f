"""The one definition of a percentile."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float, ranks: Sequence[float] | None = None) -> float:
    """The smallest of the values that `percent` % (0 to 100) of them do not exceed; NaN of none.

    Args:
        ordered: the values, the smallest first.
        percent: of the values, or of their weight.
        ranks: for values that have weights, the running sum of these.
    """
    if not ordered:
        return math.nan
    ranks = range(1, len(ordered) + 1) if ranks is None else ranks
    place = bisect_left(ranks, percent / 100 * ranks[-1])
    return ordered[min(place, len(ordered) - 1)]
