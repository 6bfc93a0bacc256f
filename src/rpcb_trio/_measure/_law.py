"""How long a batch takes: a law that is fitted to the batches that were seen.

    t = (a + k * work) * bend(size) * noise

Work is the padded cost (size * longest) or the sum of the costs, whichever explains the times better; without
costs both are the size. The line has the least squares of relative errors, robust to outliers (Huber, by
reweighting). A device is seldom a line, so for each power of two of sizes the law has a factor by which the
line misses. The noise is kept as it was seen, for a simulation to draw from.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean, median

import msgspec

from rpcb_trio._messages import Work
from rpcb_trio._statistics import fit_line
from rpcb_trio.errors import SettingError

LEAST_SECONDS = 1e-9
"""The resolution of a clock."""
STEPS = 25
"""Of reweighting; it has come to rest long before."""
BOUND = 1.5
"""Residuals count as this many standard deviations at most."""
SIGMA = 1.4826
"""Standard deviation over median distance, of a normal distribution."""
BETTER = 0.8
"""The share of the other's error that the sum of costs must have, to be preferred to padded cost."""
FEW = 3
"""Fewer batches than this say nothing of a bend."""


class Observation(msgspec.Struct, frozen=True):
    """A batch that was computed, and how many seconds that took."""

    work: Work
    seconds: float


class ServiceLaw(msgspec.Struct, frozen=True):
    """Seconds that a batch takes; call it with the batch's work."""

    fixed: float
    per_cost: float
    padded: bool
    """Whether work is size * longest cost; otherwise it is the sum of the costs."""
    residual: float = 0.0
    """By what share of its time the line misses a batch; the median."""
    bends: tuple[tuple[int, float], ...] = ()
    """Size, and what the line is multiplied by there; between two of them interpolated over log size."""
    factors: tuple[float, ...] = (1.0,)
    """The noise: what each observed batch took, as a share of the law's time."""
    largest: int = 0
    """The largest size that was observed; what is said of larger ones is extrapolated."""

    def __call__(self, work: Work) -> float:
        """The time in seconds, noise left out."""
        return self.line(work) * self._bend(work.size)

    def line(self, work: Work) -> float:
        """The same by the line alone."""
        return self.fixed + self.per_cost * (work.padded if self.padded else work.total)

    @property
    def summary(self) -> dict[str, object]:
        """What is written as JSON."""
        return {name: getattr(self, name) for name in ("fixed", "per_cost", "padded", "residual", "bends")}

    def __str__(self) -> str:
        work = "size * longest cost" if self.padded else "sum of costs"
        return f"{1e3 * self.fixed:.4g} ms + {1e3 * self.per_cost:.4g} ms * ({work})"

    def noise(self, seed: int) -> Callable[[], float]:
        """Draws a factor for each batch's time, out of those that were observed."""
        draw = random.Random(seed).choice  # noqa: S311 - the same in every run
        return lambda: draw(self.factors)

    def mean(self, size: int, cost: float) -> float:
        """The mean time of `size` items of one cost, noise included."""
        return self(Work(size, cost, size * cost)) * fmean(self.factors)

    def _bend(self, size: int) -> float:
        at = math.log2(size)
        points = [(math.log2(each), bend) for each, bend in self.bends] or [(0.0, 1.0)]
        right = bisect_left(points, (at,))
        if right in {0, len(points)}:
            return points[min(right, len(points) - 1)][1]
        (low, first), (high, last) = points[right - 1 : right + 1]
        return first + (last - first) * (at - low) / (high - low)


def law_by_hand(fixed: float, per_cost: float) -> ServiceLaw:
    """A batch takes `fixed` seconds, and `per_cost` for its size times the largest cost in it; no noise.

    Raises:
        SettingError: one of them is negative, or both are 0.
    """
    if not (0 <= fixed < math.inf and 0 <= per_cost < math.inf and fixed + per_cost > 0):
        raise SettingError(
            f"a batch of fixed-seconds {fixed:g} and per-cost-seconds {per_cost:g} takes no time that can "
            "be; give numbers of seconds, 0 or more, not both 0"
        )
    return ServiceLaw(fixed, per_cost, padded=True)


def fit_law(observations: Sequence[Observation]) -> ServiceLaw:
    """The law that explains the observations best; at least one of them."""
    times = [max(each.seconds, LEAST_SECONDS) for each in observations]
    works = [each.work for each in observations]
    lines = [_fit_line([work.padded for work in works], times)]
    lines.append(_fit_line([work.total for work in works], times))
    by_padding, by_sum = lines
    padded = by_sum.error >= BETTER * by_padding.error
    chosen = by_padding if padded else by_sum
    line = ServiceLaw(chosen.fixed, chosen.slope, padded)
    missed = [seconds / line.line(work) for seconds, work in zip(times, works, strict=True)]
    bent = msgspec.structs.replace(
        line,
        residual=median(abs(each - 1) for each in missed),
        bends=_bends(works, missed),
        largest=max(work.size for work in works),
    )
    factors = tuple(seconds / bent(work) for seconds, work in zip(times, works, strict=True))
    return msgspec.structs.replace(bent, factors=factors)


def _bends(works: Sequence[Work], missed: Sequence[float]) -> tuple[tuple[int, float], ...]:
    groups: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for work, factor in zip(works, missed, strict=True):
        groups[round(math.log2(work.size))].append((work.size, factor))
    return tuple(
        (round(median(size for size, _ in group)), median(factor for _, factor in group))
        for _, group in sorted(groups.items())
        if len(group) >= FEW
    )


class _Line(msgspec.Struct, frozen=True):
    fixed: float
    slope: float
    error: float
    """The mean distance of the times from it, as a share of them; far ones count less."""


def _fit_line(works: Sequence[float], times: Sequence[float]) -> _Line:
    weights = [1.0] * len(works)
    fixed = slope = 0.0
    for _ in range(STEPS):
        fixed, slope = fit_line(works, times, weights)
        off = [abs((fixed + slope * work) / time - 1) for work, time in zip(works, times, strict=True)]
        bound = BOUND * SIGMA * median(off)
        weights = [1.0 if each <= bound else bound / each for each in off]
        if not bound:
            break
    return _Line(fixed, slope, fmean(min(each, 1.0) for each in off))
