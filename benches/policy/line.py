"""The plainest estimator of a service time that could do: a line, by robust discounted least squares.

It stands where the default policy keeps what it has learned, so that a bench can say what more is worth.
"""

from __future__ import annotations

from collections import deque
from math import exp, log, sqrt
from statistics import median

DISCOUNT = 0.02
"""The weight of the newest batch in the long run."""
CLIP = 2.0
"""Residuals beyond so many standard deviations count less (Huber)."""
RUN = 5
"""So many residuals in a row beyond that, on one side, are a change."""
KEPT = 0.2
"""The share of what was learned that still counts after a change."""
FIRST_NOISE, LEAST_NOISE = 0.0625, 1e-4
UNDECIDED = 3.0
"""The weight of the prior: half of the mean batch's time is fixed."""


class Line:
    """t = fixed + slope * work, with the least discounted squares of relative errors."""

    def __init__(self) -> None:
        self.noise = FIRST_NOISE
        self.shape: object = object()
        self._weight = self._ones = self._products = self._squares = self._fixes = self._slopes = 0.0
        self._fixed = self._slope = 0.0
        self._count = 0
        self._run: deque[float] = deque(maxlen=RUN)

    def predict(self, work: float) -> float:
        """Seconds."""
        return self._fixed + self._slope * work

    def observe(self, work: float, seconds: float) -> float | None:
        """Learn, and say by how much (as a logarithm) the time was off."""
        residual = log(seconds / self.predict(work)) if self._count else 0.0
        bound = CLIP * sqrt(self.noise)
        weight = min(1.0, bound / abs(residual)) if residual else 1.0
        self._count += 1
        discount = max(DISCOUNT, 1 / (self._count + 1))
        self.noise += discount * (min(residual * residual, bound * bound) - self.noise)
        self.noise = max(self.noise, LEAST_NOISE)
        self._notice(residual, bound)
        self._discount(1 - DISCOUNT, 1.0)
        one, grown = 1 / seconds, work / seconds
        self._weight += weight
        self._ones += weight * one * one
        self._products += weight * one * grown
        self._squares += weight * grown * grown
        self._fixes += weight * one
        self._slopes += weight * grown
        self._fit()
        return residual

    def _notice(self, residual: float, bound: float) -> None:
        """Scale the whole line when several batches in a row say so."""
        if abs(residual) < bound or (self._run and residual * self._run[0] < 0):
            self._run.clear()
        if abs(residual) >= bound:
            self._run.append(residual)
        if len(self._run) == RUN:
            self._discount(KEPT, exp(median(self._run)))
            self._run.clear()

    def _discount(self, kept: float, slower: float) -> None:
        self._weight *= kept
        self._ones *= kept / slower**2
        self._products *= kept / slower**2
        self._squares *= kept / slower**2
        self._fixes *= kept / slower
        self._slopes *= kept / slower

    def _fit(self) -> None:
        one, grown = self._fixes / self._weight, self._slopes / self._weight
        a00 = self._ones + UNDECIDED * one * one
        a01 = self._products - UNDECIDED * one * grown
        a11 = self._squares + UNDECIDED * grown * grown
        determinant = a00 * a11 - a01 * a01
        self.shape = object()
        self._fixed, self._slope = self._fixes / self._ones, 0.0
        if determinant > 0 and (slope := (self._slopes * a00 - self._fixes * a01) / determinant) > 0:
            fixed = (self._fixes * a11 - self._slopes * a01) / determinant
            if fixed > 0:
                self._fixed, self._slope = fixed, slope
            else:
                self._fixed, self._slope = 1e-3 * self._fixed, self._slopes / self._squares
