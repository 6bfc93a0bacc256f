"""The events between the instrument and the publisher: bounded, and never waited for."""

from __future__ import annotations

from collections import deque
from operator import itemgetter

import trio

from rpcb_trio._events._events import AnyEvent, BatchEvent

LIFETIME = 5.0
"""Seconds after which an event is of no use any more, in the buffer or at the broker."""


class EventBuffer:
    """Keeps the newest events; those that find no room, or are taken too late, are dropped and counted.

    Batches don't push out states, because rates are made of these.

    Args:
        size: how many it keeps of each kind.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._batches: deque[tuple[float, AnyEvent]] = deque()
        self._states: deque[tuple[float, AnyEvent]] = deque()
        self._arrival = trio.Event()
        self._closed = trio.Event()
        self.dropped: int = 0

    def put(self, event: AnyEvent) -> None:
        kept = self._batches if isinstance(event, BatchEvent) else self._states
        if len(kept) == self._size:
            kept.popleft()
            self.dropped += 1
        kept.append((trio.current_time(), event))
        self._arrival.set()

    def close(self) -> None:
        """End it; what it holds can still be taken."""
        self._closed.set()
        self._arrival.set()

    async def take(self) -> list[AnyEvent]:
        """Wait for events, and take all, in order; none once it is closed and empty."""
        while True:
            await self._arrival.wait()
            fresh = self._take_fresh()
            if self._closed.is_set():
                return fresh
            self._arrival = trio.Event()
            if fresh:
                return fresh

    async def pause(self, seconds: float) -> None:
        """Let some more come, unless it is closed."""
        with trio.move_on_after(seconds):
            await self._closed.wait()

    def _take_fresh(self) -> list[AnyEvent]:
        oldest = trio.current_time() - LIFETIME
        kept = sorted([*self._states, *self._batches], key=itemgetter(0))
        fresh = [event for at, event in kept if at >= oldest]
        self.dropped += len(kept) - len(fresh)
        self._states.clear()
        self._batches.clear()
        return fresh
