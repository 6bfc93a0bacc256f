"""What batches of one model cost: the figures, the line fitted through them, and whether batching pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from benches.report import Spread

Kind = Literal["equal", "mixed"]

NOISE: Final = 0.05
"""A gain or a loss below this share is none, and one that some round contradicts."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The same clips through a model, in batches of one size."""

    kind: Kind
    batch_size: int
    seconds: float
    """Of padded audio in a batch, were it padded to its longest clip; the mean."""
    batch_ms: Spread
    """CPU time of a batch; the mean."""
    ms_per_second: Spread
    """CPU time for each second of audio, padding not counted."""
    ratio_to_one: Spread
    """How many times cheaper than one by one, in the same round."""
    padding: float
    """Share of padding there would be in batches padded to their longest clip."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """CPU time of a batch as `fixed_ms + ms_per_second * seconds`, its size times its longest clip."""

    fixed_ms: float
    ms_per_second: float
    r_squared: float

    def at(self, seconds: float) -> float:
        """CPU milliseconds of a batch with so much padded audio."""
        return self.fixed_ms + self.ms_per_second * seconds


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found of one model."""

    model: str
    runs: list[Run]
    fit: Line | None
    """Through the runs with clips of equal length; None where all batches were of one size."""
    verdict: dict[Kind, str]


def padded_length(batch: Sequence[float]) -> float:
    """How much a batch of clips of these lengths holds when each is padded to the longest."""
    return len(batch) * max(batch)


def padding_share(batches: Sequence[Sequence[float]]) -> float:
    """Which share of padded batches, given as their clips' lengths, is padding."""
    return 1 - sum(map(sum, batches)) / sum(map(padded_length, batches))


def fitted_line(seconds: Sequence[float], milliseconds: Sequence[float]) -> Line:
    """Fit a line with least squares, neither of its coefficients negative.

    The squares are of relative errors, and R² is of those: small batches, which show the fixed part, count as
    much as those that take thirty times as long.
    """
    amounts, times = np.asarray(seconds, float), np.asarray(milliseconds, float)
    terms = np.stack([1 / times, amounts / times], axis=1)
    fixed, slope = _solved(terms)
    if fixed < 0:
        fixed, (slope,) = 0.0, _solved(terms[:, 1:])
    elif slope < 0:
        (fixed,), slope = _solved(terms[:, :1]), 0.0
    (constant,) = _solved(terms[:, :1])
    unexplained = float(np.sum((1 - terms @ [fixed, slope]) ** 2))
    variation = float(np.sum((1 - constant / times) ** 2))
    return Line(
        fixed_ms=fixed, ms_per_second=slope, r_squared=1 - unexplained / variation if variation else 1.0
    )


def verdict(runs: Sequence[Run]) -> str:
    """Say for which batch sizes batching pays, and for which it costs."""
    ratios = {run.batch_size: run.ratio_to_one for run in runs if run.batch_size > 1}
    if not ratios:
        return "nothing to compare"
    best = max(ratios, key=lambda size: ratios[size].median)
    gains = [size for size, ratio in ratios.items() if ratio.median > 1 + NOISE and ratio.lowest > 1]
    losses = [size for size, ratio in ratios.items() if ratio.median < 1 - NOISE and ratio.highest < 1]
    said = f"pays in batches of {_listed(gains)}" if gains else "batching does not pay"
    if losses:
        said += f", costs more in batches of {_listed(losses)}"
    return f"{said}; best {ratios[best].median:.2f}x, in batches of {best}"


def _solved(terms: np.ndarray) -> list[float]:
    """The coefficients with which the terms come closest to 1, which is each time over itself."""
    found: list[float] = np.linalg.lstsq(terms, np.ones(len(terms)))[0].tolist()
    return found


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))
