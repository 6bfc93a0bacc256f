"""How long to wait between attempts to reach a lost broker."""

from __future__ import annotations

import random

FIRST_RETRY = 0.5
"""Seconds: the longest wait before the first attempt."""

LAST_RETRY = 30.0
"""Seconds: the longest wait before any attempt."""

LASTING = 5.0
"""Seconds: how long a session lives that proves all well again."""


class Backoff:
    """Exponential waits with full jitter, so that a fleet does not return in step.

    They begin anew after a session that lasted, not after one that merely opened: a broker that takes
    connections only to drop them is not to be hammered.

    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self) -> None:
        self._attempts = 0

    def after(self, lived: float) -> float:
        """Seconds to wait after a session that lived so many; 0 or less for one that never opened."""
        if lived >= LASTING:
            self._attempts = 0
        longest = min(LAST_RETRY, FIRST_RETRY * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return random.uniform(0, longest)  # noqa: S311 - not a secret
