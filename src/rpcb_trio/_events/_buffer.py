"""The events between who makes them and who publishes them: bounded, and never waited for."""

from __future__ import annotations

from collections import deque

import trio

from rpcb_trio._events._events import AnyEvent

LIFETIME = 5.0
"""Seconds after which nobody wants an event any more."""


class EventBuffer:
    """Keeps the newest events; those that find no room, or are fetched too late, are dropped and counted.

    Args:
        size: how many it keeps.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: deque[tuple[float, AnyEvent]] = deque()
        self._arrival = trio.Event()
        self._closed = trio.Event()
        self.dropped = 0

    def put(self, event: AnyEvent) -> None:
        """Keep it, if need be in the place of the oldest."""
        if len(self._kept) == self._size:
            self._kept.popleft()
            self.dropped += 1
        self._kept.append((trio.current_time(), event))
        self._arrival.set()

    def close(self) -> None:
        """No more come; what is here can still be taken."""
        self._closed.set()
        self._arrival.set()

    async def take(self) -> list[AnyEvent]:
        """Wait for some, and take all that are here; none once it is closed and empty."""
        while True:
            await self._arrival.wait()
            fresh = self._take_fresh()
            if self._closed.is_set():
                return fresh
            self._arrival = trio.Event()
            if fresh:
                return fresh

    async def pause(self, seconds: float) -> None:
        """Let some more come; not for longer than they do."""
        with trio.move_on_after(seconds):
            await self._closed.wait()

    def _take_fresh(self) -> list[AnyEvent]:
        oldest = trio.current_time() - LIFETIME
        fresh = [event for at, event in self._kept if at >= oldest]
        self.dropped += len(self._kept) - len(fresh)
        self._kept.clear()
        return fresh
