"""Notices of the embedded broker: each one to all that listen at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import trio

from rpcb_trio._messages import Notice
from rpcb_trio._transports._memory._queues import Message
from rpcb_trio._transports._memory._router import Router, check_connected, watch

BUFFER = 1024
"""Notices that may wait for a listener."""


class MemoryPublisher:
    """Implements `NoticePublisher`."""

    def __init__(self, router: Router, exchange: str) -> None:
        self._router = router
        self._lost = router.lost
        self._exchange = exchange
        router.declare_exchange(exchange, "topic")

    async def publish(self, notices: Sequence[Notice]) -> None:
        await trio.lowlevel.checkpoint()
        await self._router.alarm.passed()
        check_connected(self._lost)
        for notice in notices:
            self._router.route(self._exchange, notice.routing_key, Message(body=notice.body))


class MemorySubscriber:
    """Implements `NoticeSubscriber`."""

    def __init__(self, router: Router, exchange: str) -> None:
        self._router = router
        self._lost = router.lost
        router.declare_exchange(exchange, "topic")
        self.bodies = router.listen(exchange, BUFFER)

    async def depth(self, queue: str) -> int | None:
        await trio.lowlevel.checkpoint()
        return len(self._router.queues[queue]) if queue in self._router.queues else None

    async def watch(self) -> NoReturn:
        await watch(self._lost)
