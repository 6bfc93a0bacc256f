"""What is counted, and how: plain numbers, so that a scrape has the costs and not each message."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias

import msgspec

from rpcb_trio._metrics._series import Series
from rpcb_trio._shown import shown

MOST_CODES = 32
"""Values of a label that the service's code makes up, such as error codes; further ones count as `OTHER`."""
LONGEST_CODE = 64
OTHER = "other"


class Distribution(msgspec.Struct, frozen=True):
    """A histogram at one moment."""

    counts: tuple[int, ...]
    """Of each bucket alone; the last is of what exceeds all bounds."""
    total: float

    def __add__(self, other: Distribution) -> Distribution:
        counts = tuple(own + its for own, its in zip(self.counts, other.counts, strict=True))
        return Distribution(counts, self.total + other.total)


class Histogram:
    """Counts values in buckets.

    Args:
        bounds: upper bounds of the buckets, rising, each within its bucket.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def observe_all(self, values: list[float]) -> None:
        """Observe several at once, which sorts them: those of a batch fall into few buckets."""
        values.sort()
        bounds, counts = self._bounds, self._counts
        bucket, last = bisect_left(bounds, values[0]), bisect_left(bounds, values[-1])
        done = 0
        while bucket < last:
            end = bisect_right(values, bounds[bucket], done)
            counts[bucket] += end - done
            bucket, done = bucket + 1, end
        counts[last] += len(values) - done
        self._total += sum(values)

    @property
    def distribution(self) -> Distribution:
        return Distribution(tuple(self._counts), self._total)


class Tally(dict[str, int]):
    """Counts by a label's value, of which there is only a bounded number.

    Args:
        known: values that are there from the beginning, as 0: of a counter that appears as 1, Prometheus sees
            no increase.
    """

    def __init__(self, known: Iterable[str]) -> None:
        super().__init__(dict.fromkeys(known, 0))
        self._most = len(self) + MOST_CODES

    def add(self, value: str) -> None:
        if value not in self:
            value = shown(value, LONGEST_CODE)
            if value not in self and len(self) >= self._most:
                value = OTHER
        self[value] = self.get(value, 0) + 1


Value: TypeAlias = float | Distribution
Sample: TypeAlias = tuple[Series, tuple[str, ...], Value]


class Source(Protocol):
    """What counts: a worker, or a gateway."""

    def samples(self) -> Iterator[Sample]:
        """All values at this moment; called in any thread."""
        ...


class Merged:
    """The samples of several sources, those of one series and equal labels put together."""

    def __init__(self) -> None:
        self.values: dict[tuple[Series, tuple[str, ...]], Value] = {}

    def add(self, samples: Iterator[Sample]) -> None:
        for series, labels, value in samples:
            before = self.values.get((series, labels))
            self.values[series, labels] = value if before is None else _together(series, before, value)

    def add_ended(self, ended: Merged) -> None:
        """Add what sources counted that have ended: their gauges are 0 unless others have them, too."""
        for (series, labels), value in ended.values.items():
            if series.kind == "gauge":
                self.values.setdefault((series, labels), 0.0)
            else:
                self.add(iter([(series, labels, value)]))


def _together(series: Series, one: Value, other: Value) -> Value:
    if isinstance(one, Distribution) or isinstance(other, Distribution):
        assert isinstance(one, Distribution) and isinstance(other, Distribution)  # noqa: PT018, S101 - for the type checker
        return one + other
    if series.kind == "gauge" and series.together != "sum":
        return min(one, other) if series.together == "least" else max(one, other)
    return one + other
