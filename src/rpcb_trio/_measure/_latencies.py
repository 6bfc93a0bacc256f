"""Times by the million in a memory that does not grow with them."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise

from ddsketch import LogCollapsingLowestDenseDDSketch

ACCURACY = 0.005
"""Percentiles are within this share of the truth."""
SHORTEST = 1e-6
"""Seconds; what is shorter counts as this."""
MOST_BINS = 4096
"""From `SHORTEST` on they reach further than the age of the universe."""


class Latencies:
    """A histogram with a bounded relative error.

    DDSketch: Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
    guarantees", VLDB 2019.
    """

    def __init__(self) -> None:
        self._sketch = LogCollapsingLowestDenseDDSketch(ACCURACY, MOST_BINS)
        self.count = 0
        self.max = math.inf
        """Exact, in seconds; infinity where there is none."""

    def add(self, seconds: float) -> None:
        """Count one."""
        self._sketch.add(max(seconds, SHORTEST))
        self.max = max(self.max, seconds) if self.count else seconds
        self.count += 1

    @property
    def mean(self) -> float:
        """Exact, in seconds; infinity where there is none."""
        return float(self._sketch.avg) if self.count else math.inf

    def percentile(self, percent: float, *, never: int = 0) -> float:
        """The seconds that `percent` % do not exceed, where `never` more took for ever."""
        rank = max(math.ceil(percent / 100 * (self.count + never)) - 1, 0)
        return min(self._at(rank), self.max) if rank < self.count else math.inf

    def bars(self, most: int) -> list[tuple[float, float, int]]:
        """At most so many bars of a histogram: from, to (seconds, evenly on a logarithmic axis), how many."""
        if not self.count:
            return []
        low, high = self._at(0) * (1 - ACCURACY), self._at(self.count - 1) * (1 + ACCURACY)
        bars = min(most, math.ceil(math.log(high / low) / (2 * ACCURACY)))
        edges = [low * (high / low) ** (bar / bars) for bar in range(bars)] + [high]
        below = [bisect_right(range(self.count), edge, key=self._at) for edge in edges]
        return [
            (start, end, last - first)
            for (start, end), (first, last) in zip(pairwise(edges), pairwise(below), strict=True)
        ]

    def _at(self, rank: int) -> float:
        """The time of a rank from 0 on, without the rounding that may lead to the one before."""
        value = self._sketch.get_quantile_value(min(1.0, (rank + 0.5) / max(self.count - 1, 1)))
        assert value is not None  # noqa: S101 - there is one
        return float(value)
