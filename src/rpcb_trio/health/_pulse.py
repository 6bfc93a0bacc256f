"""How late the event loop turns.

A model that holds the GIL stops the loop, and with it heartbeats to the broker and answers to probes.
"""

from __future__ import annotations

from collections import deque

import trio

INTERVAL = 1.0
"""Seconds between two beats."""

KEPT = 60
"""Beats that are remembered."""


class Pulse:
    """Beats on the event loop, and remembers by how much the last of its beats came late."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=KEPT)
        self._due = trio.current_time()

    @property
    def longest_stall(self) -> float:
        """For how many seconds the loop stood still at most, within the last `KEPT` beats."""
        return max([*self._late, trio.current_time() - self._due, 0.0])

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            self._due = trio.current_time() + INTERVAL
            await trio.sleep_until(self._due)
            self._late.append(trio.current_time() - self._due)
