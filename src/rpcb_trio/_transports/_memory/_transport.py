"""The embedded broker as a transport: what a worker and a client see of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import sniffio
import trio

from rpcb_trio._errors import SettingError, TopologyMismatch
from rpcb_trio._messages import NO_HEADERS, Reply
from rpcb_trio._transports._memory._alarm import Alarm
from rpcb_trio._transports._memory._notices import Listeners, MemoryPublisher, MemorySubscriber
from rpcb_trio._transports._memory._queues import Message
from rpcb_trio._transports._memory._router import Router, as_reply
from rpcb_trio._transports._memory._sessions import MemoryCaller, MemorySession
from rpcb_trio._transports._protocol import CallerSession, Publisher, Session, Subscriber, Topology


class MemoryBroker:
    """A broker that lives in this process and this trio run; a `Transport` like any other.

    It has named queues, the default exchange and exchanges bound by exact routing keys; prefetch, ack, nack,
    redelivery with its flag, direct reply-to, and expiry (looked at when a message reaches the queue's head).
    Nothing is stored beyond the process. `declare="passive"` wants the queue to be there; other than that,
    `declare`, `queue_type` and further arguments change nothing. What is dead-lettered goes where the
    topology's `dead_letter_exchange` routes it to, or is dropped.

    Args:
        max_message_size: bytes of the largest body that clients and workers may send; None for any.
    """

    def __init__(self, *, max_message_size: int | None = None) -> None:
        self._max_message_size = max_message_size
        self._router = Router()
        self._connections = trio.Event()
        self._alarm = Alarm()
        self._listeners = Listeners()

    def declare(self, queue: str) -> None:
        """Create a queue, if it is not there."""
        self._router.declare(queue)

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
        """Put a message into all queues bound there, as a foreign producer would; False if there is none."""
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
        """Take the first message off a queue, as a foreign producer reads its reply; None if it is empty."""
        message = self._router.queues[queue].get()
        return None if message is None else as_reply(message)

    def disconnect(self) -> None:
        """End every session, as a lost connection would; what was unacked is delivered again."""
        self._connections.set()
        self._connections = trio.Event()

    def block(self, reason: str) -> None:
        """Take no more replies from workers, as a broker that is short of memory; deliveries go on."""
        self._alarm.raise_for(reason)

    def unblock(self) -> None:
        """Take replies again, and all that wait."""
        self._alarm.clear()

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        """Declare as `topology` says and consume."""
        await trio.lowlevel.checkpoint()
        self._declare(topology)
        session = MemorySession(
            self._router, self._alarm, self._connections, topology=topology, prefetch=prefetch
        )
        session.max_reply_size = self._max_message_size
        try:
            yield session
        finally:
            session.close()

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        """Take a direct reply-to address and call from it."""
        _refuse_asyncio()
        await trio.lowlevel.checkpoint()
        caller = MemoryCaller(self._router, self._connections, self._max_message_size)
        try:
            yield caller
        finally:
            caller.close()

    @asynccontextmanager
    async def open_publisher(self, exchange: str) -> AsyncIterator[Publisher]:
        """Tell who listens to an exchange."""
        await trio.lowlevel.checkpoint()
        yield MemoryPublisher(self._listeners, exchange, self._alarm, self._connections)

    @asynccontextmanager
    async def open_subscriber(self, exchange: str) -> AsyncIterator[Subscriber]:
        """Listen to an exchange."""
        _refuse_asyncio()
        await trio.lowlevel.checkpoint()
        with self._listeners.add(exchange) as bodies:
            yield MemorySubscriber(bodies, self._router, self._connections)

    def _declare(self, topology: Topology) -> None:
        if topology.declare == "passive" and topology.queue not in self._router.queues:
            raise TopologyMismatch(f"queue {topology.queue!r} is not there; set declare to active")
        self.declare(topology.queue)
        for key in topology.routing_keys:
            if topology.exchange_type == "topic" and {"*", "#"} & set(key.split(".")):
                raise SettingError(f"routing key {key!r}: the embedded broker has no wildcards; name the key")
            self._router.bind(topology.queue, topology.exchange, key)


def _refuse_asyncio() -> None:
    if sniffio.current_async_library() != "trio":
        raise SettingError("MemoryBroker runs under trio only; under asyncio, name a broker by its URL")
