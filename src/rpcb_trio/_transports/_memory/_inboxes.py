"""Durable queues for replies, as the embedded broker has them: they last as long as it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from rpcb_trio._messages import Reply
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports._memory._queues import Consumer, Message
from rpcb_trio._transports._memory._router import Router, as_reply, check_connected


class MemoryInboxes:
    """Implements `Inboxes`. No queue goes by itself, and none has a limit."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._lost = router.lost

    async def declare(self, queue: str, *, unused: float, most: int | None = None) -> None:  # noqa: ARG002 - see the class
        await self._ask()
        self._router.declare_queue(queue)

    async def depth(self, queue: str) -> int | None:
        await self._ask()
        found = self._router.queues.get(queue)
        return None if found is None else len(found)

    async def delete(self, queue: str) -> None:
        await self._ask()
        deleted = self._router.queues.pop(queue, None)
        if deleted is not None:
            deleted.gone.set()

    @asynccontextmanager
    async def open(self, queue: str, *, prefetch: int) -> AsyncIterator[MemoryInbox | None]:
        """Consume it until the end, or the end of the connection."""
        await self._ask()
        if queue not in self._router.queues:
            yield None
            return
        found = self._router.queues[queue]
        inbox = MemoryInbox()
        inbox.consumer = found.consume(prefetch, inbox.deliver)
        async with open_serving_nursery() as tasks:
            for end in (found.gone, self._lost):
                tasks.start_soon(inbox.end_after, end)
            try:
                yield inbox
            finally:
                inbox.consumer.close()
                tasks.cancel_scope.cancel()

    async def _ask(self) -> None:
        await trio.lowlevel.checkpoint()
        check_connected(self._lost)


class MemoryInbox:
    """Implements `Inbox`."""

    consumer: Consumer

    def __init__(self) -> None:
        self._put, self.replies = trio.open_memory_channel[tuple[int, Reply]](math.inf)

    def ack(self, tag: int) -> None:
        self.consumer.ack(tag)

    def deliver(self, tag: int, message: Message) -> None:
        with suppress(trio.ClosedResourceError):
            self._put.send_nowait((tag, as_reply(message)))

    async def end_after(self, end: trio.Event) -> None:
        await end.wait()
        self._put.close()
