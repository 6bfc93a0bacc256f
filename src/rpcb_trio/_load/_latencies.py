"""Times by the million in a memory that does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ddsketch import CollapsingLowestDenseStore, LogarithmicMapping

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
        self._mapping = LogarithmicMapping(ACCURACY)
        self._store = CollapsingLowestDenseStore(MOST_BINS)
        self._sum = 0.0
        self.count = 0
        self.max = math.inf
        """Exact, in seconds; infinity where there is none."""

    def add(self, seconds: float) -> None:
        """Count one."""
        self._store.add(self._mapping.key(max(seconds, SHORTEST)))
        self._sum += seconds
        self.max = max(self.max, seconds) if self.count else seconds
        self.count += 1

    @property
    def mean(self) -> float:
        """Exact, in seconds; infinity where there is none."""
        return self._sum / self.count if self.count else math.inf

    def percentile(self, percent: float, *, never: int = 0) -> float:
        """The time in seconds that `percent` % do not exceed, where `never` more took for ever."""
        rank = max(math.ceil(percent / 100 * (self.count + never)) - 1, 0)
        if rank >= self.count:
            return math.inf
        return min(self._mapping.value(self._store.key_at_rank(rank)), self.max)

    def bars(self, most: int) -> list[tuple[float, float, int]]:
        """At most so many bars of a histogram: from, to (seconds, evenly on a logarithmic axis), how many."""
        counts = dict(self._counts())
        if not counts:
            return []
        first, last = min(counts), max(counts)
        width = math.ceil((last - first + 1) / most)
        return [
            (
                self._mapping.value(key - 1),
                self._mapping.value(key + width - 1),
                sum(counts.get(each, 0) for each in range(key, key + width)),
            )
            for key in range(first, last + 1, width)
        ]

    def _counts(self) -> Iterator[tuple[int, int]]:
        for place, count in enumerate(self._store.bins):
            if count:
                yield place + self._store.offset, round(count)
