"""How long to wait between attempts to reach a lost broker."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

FIRST_RETRY = 0.5
"""Seconds: the longest wait before the first attempt."""

LAST_RETRY = 30.0
"""Seconds: the longest wait before any attempt."""


def backoff() -> Iterator[float]:
    """Yield waits in seconds: exponential with full jitter, so that a fleet does not return in step.

    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return (random.uniform(0, min(LAST_RETRY, FIRST_RETRY * 2 ** min(n, 16))) for n in count())  # noqa: S311 - not a secret
