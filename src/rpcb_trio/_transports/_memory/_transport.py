"""The embedded broker as a transport: what a worker and a client see of it."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import NoReturn

import msgspec
import trio

from rpcb_trio._errors import SessionLost, SettingError, TopologyMismatch, Unroutable
from rpcb_trio._messages import NO_HEADERS, Answer, Outgoing, Reply, Request, Settled
from rpcb_trio._transports._deadline import read_deadline
from rpcb_trio._transports._memory._alarm import Alarm
from rpcb_trio._transports._memory._queues import Consumer, Message, Queue
from rpcb_trio._transports._protocol import CallerSession, Session, Topology

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."


class MemoryBroker:
    """A broker that lives in this process and this trio run; a `Transport` like any other.

    It has named queues, the default exchange and exchanges bound by exact routing keys; prefetch, ack, nack,
    redelivery with its flag, direct reply-to, and expiry (looked at when a message reaches the queue's head).
    Nothing is stored beyond the process. `declare="passive"` wants the queue to be there; other than that,
    `declare`, `queue_type` and further arguments change nothing, and nothing is dead-lettered.
    """

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self._bindings: dict[tuple[str, str], set[str]] = {}
        self._callers: dict[str, trio.MemorySendChannel[Reply]] = {}
        self._tokens = count(1)
        self._connections = trio.Event()
        self._alarm = Alarm()

    def declare(self, queue: str) -> None:
        """Create a queue, if it is not there."""
        self._queues.setdefault(queue, Queue())

    def depth(self, queue: str) -> int:
        """How many messages lie in a queue, undelivered."""
        return len(self._queues[queue])

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
    ) -> bool:
        """Put a message into all queues bound there, as a foreign producer would; False if there is none."""
        message = Message(
            body=body,
            reply_to=reply_to,
            correlation_id=correlation_id,
            expiration=expiration,
            priority=priority or 0,
            headers=headers,
        )
        return self._route(exchange, routing_key, message)

    def get(self, queue: str) -> Reply | None:
        """Take the first message off a queue, as a foreign producer reads its reply; None if it is empty."""
        message = self._queues[queue].get()
        return None if message is None else _as_reply(message)

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
        session = _MemorySession(self, self._queues[topology.queue], prefetch, self._connections, self._alarm)
        try:
            yield session
        finally:
            session.close()

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        """Take a direct reply-to address and call from it."""
        await trio.lowlevel.checkpoint()
        address = f"{DIRECT_REPLY_TO}{next(self._tokens)}"
        send_replies, replies = trio.open_memory_channel[Reply](math.inf)
        self._callers[address] = send_replies
        with send_replies:
            try:
                yield _MemoryCaller(self, address, replies, self._connections)
            finally:
                del self._callers[address]

    def _declare(self, topology: Topology) -> None:
        if topology.declare == "passive" and topology.queue not in self._queues:
            raise TopologyMismatch(f"queue {topology.queue!r} is not there; set declare to active")
        self.declare(topology.queue)
        for key in topology.routing_keys:
            if topology.exchange_type == "topic" and {"*", "#"} & set(key.split(".")):
                raise SettingError(f"routing key {key!r}: the embedded broker has no wildcards; name the key")
            self._bindings.setdefault((topology.exchange, key), set()).add(topology.queue)

    def _route(self, exchange: str, routing_key: str, message: Message) -> bool:
        if message.expiration is not None:
            expires = trio.current_time() + message.expiration
            message = msgspec.structs.replace(message, expires=expires)
        if exchange == "" and routing_key in self._callers:
            with suppress(trio.BrokenResourceError):  # the caller is about to leave
                self._callers[routing_key].send_nowait(_as_reply(message))
            return True
        names = {routing_key} if exchange == "" else self._bindings.get((exchange, routing_key), set())
        queues = [self._queues[name] for name in names if name in self._queues]
        for queue in queues:
            queue.put(message)
        return bool(queues)

    def _reply(self, answer: Answer) -> Settled:
        if answer.reply is None:
            return Settled.DROPPED
        if answer.request.reply_to is None:
            return Settled.NO_REPLY_TO
        reply = Message(
            body=answer.reply.body,
            correlation_id=answer.reply.correlation_id,
            headers=answer.reply.headers,
            content_type=answer.reply.content_type,
        )
        return Settled.REPLIED if self._route("", answer.request.reply_to, reply) else Settled.UNROUTABLE


class _MemorySession:
    def __init__(
        self, broker: MemoryBroker, queue: Queue, prefetch: int, lost: trio.Event, alarm: Alarm
    ) -> None:
        self._broker = broker
        self._lost = lost
        self._alarm = alarm
        self.blockages = alarm.listen()
        self._send_requests, self.requests = trio.open_memory_channel[Request](math.inf)
        self._consumer: Consumer = queue.consume(prefetch, self._deliver)

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        await trio.lowlevel.checkpoint()
        await self._alarm.passed()
        if self._lost.is_set():
            raise SessionLost("the embedded broker has disconnected")
        settled = [self._broker._reply(answer) for answer in answers]  # noqa: SLF001 - one room
        for answer in answers:
            self._consumer.ack(answer.request.tag)
        return settled

    async def stop_consuming(self) -> None:
        await trio.lowlevel.checkpoint()
        self._consumer.stop()
        self._send_requests.close()

    async def watch(self) -> NoReturn:
        await self._lost.wait()
        raise SessionLost("the embedded broker has disconnected")

    def close(self) -> None:
        self._send_requests.close()
        self.blockages.close()
        self._consumer.close()

    def _deliver(self, tag: int, message: Message) -> None:
        arrived = trio.current_time()
        self._send_requests.send_nowait(
            Request(
                body=message.body,
                arrived=arrived,
                reply_to=message.reply_to,
                correlation_id=message.correlation_id,
                deadline=read_deadline(
                    arrived, time.time(), lifetime=message.expiration, headers=message.headers
                ),
                redelivered=message.redelivered,
                priority=message.priority,
                headers=message.headers,
                tag=tag,
            )
        )


class _MemoryCaller:
    def __init__(
        self,
        broker: MemoryBroker,
        address: str,
        replies: trio.MemoryReceiveChannel[Reply],
        lost: trio.Event,
    ) -> None:
        self._broker = broker
        self._address = address
        self._lost = lost
        self.replies = replies

    async def publish(self, request: Outgoing) -> None:
        await trio.lowlevel.checkpoint()
        if self._lost.is_set():
            raise SessionLost("the embedded broker has disconnected")
        message = Message(
            body=request.body,
            reply_to=self._address,
            correlation_id=request.correlation_id,
            expiration=request.expiration,
            priority=request.priority or 0,
            headers=request.headers,
            content_type=request.content_type,
        )
        if not self._broker._route(request.exchange, request.routing_key, message):  # noqa: SLF001 - one room
            raise Unroutable(
                f"no queue is bound to exchange {request.exchange!r} with routing key {request.routing_key!r}"
            )

    async def watch(self) -> NoReturn:
        await self._lost.wait()
        raise SessionLost("the embedded broker has disconnected")


def _as_reply(message: Message) -> Reply:
    return Reply(
        body=message.body,
        correlation_id=message.correlation_id,
        headers=message.headers,
        content_type=message.content_type,
    )
