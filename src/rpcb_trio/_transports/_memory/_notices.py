"""Notices of the embedded broker: each one to all who listen at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import trio

from rpcb_trio._errors import SessionLost
from rpcb_trio._messages import Notice
from rpcb_trio._transports._memory._alarm import Alarm
from rpcb_trio._transports._memory._router import Router

BUFFER = 1024
"""Notices that may wait for who listens."""


class Listeners:
    """Who listens to which exchange."""

    def __init__(self) -> None:
        self._of: dict[str, list[trio.MemorySendChannel[bytes]]] = {}

    def add(self, exchange: str) -> trio.MemoryReceiveChannel[bytes]:
        """Listen from now on, until it is closed."""
        put, bodies = trio.open_memory_channel[bytes](BUFFER)
        self._of.setdefault(exchange, []).append(put)
        return bodies

    def tell(self, exchange: str, body: bytes) -> None:
        """Tell all who listen and have room."""
        for put in tuple(self._of.get(exchange, ())):
            try:
                put.send_nowait(body)
            except trio.WouldBlock:
                pass
            except trio.BrokenResourceError:
                self._of[exchange].remove(put)


class MemoryPublisher:
    """Implements `Publisher`."""

    def __init__(self, listeners: Listeners, exchange: str, alarm: Alarm, lost: trio.Event) -> None:
        self._listeners = listeners
        self._exchange = exchange
        self._alarm = alarm
        self._lost = lost

    async def publish(self, notices: Sequence[Notice]) -> None:
        """Send them (see `Publisher`)."""
        await trio.lowlevel.checkpoint()
        await self._alarm.passed()
        if self._lost.is_set():
            raise SessionLost("the embedded broker has disconnected")
        for notice in notices:
            self._listeners.tell(self._exchange, notice.body)


class MemorySubscriber:
    """Implements `Subscriber`."""

    def __init__(self, bodies: trio.MemoryReceiveChannel[bytes], router: Router, lost: trio.Event) -> None:
        self.bodies = bodies
        self._router = router
        self._lost = lost

    async def depth(self, queue: str) -> int | None:
        """How full a queue is (see `Subscriber`)."""
        await trio.lowlevel.checkpoint()
        return len(self._router.queues[queue]) if queue in self._router.queues else None

    async def watch(self) -> NoReturn:
        """Wait for the end."""
        await self._lost.wait()
        raise SessionLost("the embedded broker has disconnected")
