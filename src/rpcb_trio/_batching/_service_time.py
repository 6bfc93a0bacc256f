"""What a batch takes, learned online from what batches took."""

from __future__ import annotations

from copy import deepcopy
from math import inf, isfinite, sqrt

from rpcb_trio._batching._curve import DISCOUNT, Curve
from rpcb_trio._messages import Work

LEAST_WORK = 1e-100
MOST_WORK = 1e100
LEAST_SECONDS = 1e-9
"""The resolution of a clock; a batch that took none took this."""
MOST_SECONDS = 1e9
EVIDENCE = 16
"""How many batches must tell the two laws apart before the other one is believed."""
BETTER = 0.8
"""The share of the squared errors that the other law must have to be believed."""
LARGEST_ERROR = 0.5
"""The most that one batch's squared error counts. (A curve's own noise would hide that its law is wrong.)"""
ALIKE = 0.1
"""Padded and summed work that differ by less than this share say nothing of padding but noise."""


class ServiceTime:
    """What a batch takes: t = a + k * work, in seconds, bent where the device is not linear.

    Two laws compete: work is the padded cost (size * longest), or the sum of the costs, as where a service
    packs or does not pad. Padded is preferred until the other one's noise is clearly less.

    `predict` is positive, finite, and never less for more work. Smooth laws that are no line (a plateau, a
    root, a power) are followed within 15 % once their sizes were seen a few times; a staircase of 8 is, at
    its steps, within a factor of 1.5.
    """

    def __init__(self) -> None:
        self._padded = Curve()
        self._summed: Curve | None = None
        """Made by the first batch whose costs differ; until then it would be the same."""
        self._errors = (0.0, 0.0)
        self._told_apart = 0
        self._padding_matters = True
        self._known = False

    @property
    def known(self) -> bool:
        """Whether anything was observed."""
        return self._known

    @property
    def padding_matters(self) -> bool:
        """Whether padded cost is what predicts; otherwise it is the sum of the costs."""
        return self._padding_matters

    @property
    def shape(self) -> object:
        """Another one as soon as more than the speed of the machine has changed."""
        return self._in_use.shape

    @property
    def spread(self) -> float:
        """The relative standard deviation of the residuals, without outliers; 0.25 before it is known."""
        return sqrt(self._in_use.noise)

    def predict(self, work: Work) -> float:
        """How many seconds such a batch takes; 0.0 with nothing observed yet. Always finite."""
        if not self._known:
            return 0.0
        measure = work.size * work.longest if self._padding_matters else work.total
        if not LEAST_WORK <= measure <= MOST_WORK:
            measure = _bounded(measure)
        return min(self._in_use.predict(measure), MOST_SECONDS)

    def observe(self, work: Work, seconds: float) -> None:
        """Learn that such a batch took so many seconds. What is not a time or not a work is ignored."""
        padded, total = work.padded, work.total
        if not (0 <= seconds < inf and isfinite(padded) and isfinite(total)):
            return
        self._known = True
        seconds = min(max(seconds, LEAST_SECONDS), MOST_SECONDS)
        are_apart = abs(padded - total) > ALIKE * abs(padded)
        if self._summed is None and are_apart:
            self._summed = deepcopy(self._padded)
        by_padded = self._padded.observe(_bounded(padded), seconds)
        if self._summed is None:
            return
        by_summed = self._summed.observe(_bounded(total), seconds)
        if are_apart and by_padded is not None and by_summed is not None:
            self._compare(by_padded, by_summed)

    @property
    def _in_use(self) -> Curve:
        return self._padded if self._padding_matters or self._summed is None else self._summed

    def _compare(self, by_padded: float, by_summed: float) -> None:
        """Change the law when the other one has been clearly better; only then, so that it does not flap."""
        self._told_apart += 1
        discount = max(DISCOUNT, 1 / self._told_apart)
        padded, summed = (
            error + discount * (min(residual * residual, LARGEST_ERROR) - error)
            for error, residual in zip(self._errors, (by_padded, by_summed), strict=True)
        )
        self._errors = padded, summed
        if self._told_apart < EVIDENCE:
            return
        if self._padding_matters:
            self._padding_matters = summed >= BETTER * padded
        else:
            self._padding_matters = padded < BETTER * summed


def _bounded(work: float) -> float:
    """The work as a number that can be reckoned with; what is not one is taken for the most."""
    if work < LEAST_WORK:
        return 0.0
    return min(MOST_WORK, work)  # in this order, which gives MOST_WORK for NaN
