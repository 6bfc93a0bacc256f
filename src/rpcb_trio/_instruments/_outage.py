"""How long the broker has been away, and which of the failed attempts to reach it are worth a line."""

from __future__ import annotations

import trio

from rpcb_trio._shown import shown

MOST_REASONS = 16
"""Reasons that change with each attempt must not become a flood either."""


class Outage:
    """The time between two sessions. `str` of it says how long it was, in attempts and seconds."""

    def __init__(self) -> None:
        self._since = trio.current_time()
        self._failed = 0
        self._reasons: set[str] = set()

    def failed(self, attempts: int, reason: str) -> bool:
        """Enter the failed attempt of this number; True if it is worth a line.

        That are the 1st, 2nd, 4th, 8th, ..., and those that fail for a new reason.
        """
        self._failed = attempts
        reason = shown(reason)
        is_new = reason not in self._reasons and len(self._reasons) < MOST_REASONS
        if is_new:
            self._reasons.add(reason)
        return is_new or attempts & (attempts - 1) == 0

    def __str__(self) -> str:
        return f"{self._failed + 1} attempt(s) ({trio.current_time() - self._since:.1f} s)"
