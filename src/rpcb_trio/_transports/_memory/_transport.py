"""The embedded broker as a transport: what a worker and a client see of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import sniffio
import trio

from rpcb_trio._messages import NO_HEADERS, Reply
from rpcb_trio._transports._memory._notices import MemoryPublisher, MemorySubscriber
from rpcb_trio._transports._memory._queues import Message
from rpcb_trio._transports._memory._router import Router, as_reply
from rpcb_trio._transports._memory._sessions import MemoryCaller, MemorySession
from rpcb_trio._transports._protocol import CallerSession, NoticePublisher, NoticeSubscriber, Session
from rpcb_trio._transports._topology import Topology, check_exchange, check_prefetch
from rpcb_trio.errors import SettingError


class MemoryBroker:
    """A broker that lives in this process and this trio run; a `Transport` like any other.

    It has named queues, and exchanges of every type that bind them (all that is bound to a headers exchange
    gets all); prefetch, ack, redelivery with its flag, direct reply-to, and expiry (looked at when a message
    reaches the queue's head). Nothing is stored beyond the process. It refuses a topology as RabbitMQ would:
    what is missing, and what is declared again with other properties. But it does not obey them: queues have
    no limits, no priorities and no types. What is dead-lettered goes where the topology's
    `dead_letter_exchange` routes it to, or is dropped.

    Args:
        max_message_size: bytes of the largest body that clients and workers may send; None for any.
    """

    def __init__(self, *, max_message_size: int | None = None) -> None:
        self._max_message_size = max_message_size
        self._router = Router()

    def declare(
        self, queue: str, *, durable: bool = True, arguments: Mapping[str, object] = NO_HEADERS
    ) -> None:
        """Create a queue, if it is not there.

        Raises:
            TopologyMismatch: it is there with other properties.
        """
        self._router.declare_queue(queue, durable=durable, arguments=arguments)

    def depth(self, queue: str) -> int:
        """How many messages lie in a queue, undelivered."""
        return len(self._router.queues[queue])

    def publish(
        self,
        body: bytes,
        *,
        routing_key: str,
        exchange: str = "",
        reply_to: str | None = None,
        correlation_id: str | None = None,
        expiration: float | None = None,
        priority: int | None = None,
        headers: Mapping[str, object] = NO_HEADERS,
        content_encoding: str | None = None,
    ) -> bool:
        """Put a message into all queues bound there, as any other program would; False if there is none."""
        message = Message(
            body=body,
            routing_key=routing_key,
            reply_to=reply_to,
            correlation_id=correlation_id,
            expiration=expiration,
            priority=priority or 0,
            headers=headers,
            content_encoding=content_encoding,
        )
        return self._router.route(exchange, routing_key, message)

    def get(self, queue: str) -> Reply | None:
        """Take the first message off a queue, as another program reads its reply; None if it is empty."""
        message = self._router.queues[queue].get()
        return None if message is None else as_reply(message)

    def disconnect(self) -> None:
        """End every session, as a lost connection would; what was unacked is delivered again."""
        self._router.disconnect()

    def block(self, reason: str) -> None:
        """Take no more replies from workers, as a broker that is short of memory; deliveries go on."""
        self._router.alarm.change(reason)

    def unblock(self) -> None:
        """Take replies again, and all that wait."""
        self._router.alarm.change(None)

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        """Declare as `topology` says and consume."""
        await trio.lowlevel.checkpoint()
        check_prefetch(prefetch)
        self._router.declare(topology)
        session = MemorySession(
            self._router, topology, prefetch=prefetch, max_message_size=self._max_message_size
        )
        try:
            yield session
        finally:
            session.close()

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        """Take a direct reply-to address and call from it."""
        _refuse_asyncio()
        await trio.lowlevel.checkpoint()
        caller = MemoryCaller(self._router, self._max_message_size)
        try:
            yield caller
        finally:
            caller.close()

    @asynccontextmanager
    async def open_publisher(self, exchange: str) -> AsyncIterator[NoticePublisher]:
        """Publish notices to an exchange."""
        await trio.lowlevel.checkpoint()
        check_exchange(exchange)
        yield MemoryPublisher(self._router, exchange)

    @asynccontextmanager
    async def open_subscriber(self, exchange: str) -> AsyncIterator[NoticeSubscriber]:
        """Listen to an exchange."""
        _refuse_asyncio()
        await trio.lowlevel.checkpoint()
        check_exchange(exchange)
        subscriber = MemorySubscriber(self._router, exchange)
        with subscriber.bodies:
            yield subscriber


def _refuse_asyncio() -> None:
    if sniffio.current_async_library() != "trio":
        raise SettingError("MemoryBroker runs under trio only; under asyncio, name a broker by its URL")
