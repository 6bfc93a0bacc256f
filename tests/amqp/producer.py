"""Producers as they are in the field: pika, blocking, in threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pika  # type: ignore[import-untyped] # it carries no types
import trio

from rpcb_trio import Reply
from rpcb_trio._transports import Session
from rpcb_trio.instruments import Answer, Settled
from tests.rabbitmq import Broker

REPLY_SECONDS = 20
PSEUDO_QUEUE = "amq.rabbitmq.reply-to"


class Producer:
    """Sends to one queue of a broker and reads what comes back."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self._broker = broker
        self._queue = queue

    async def send(
        self, *bodies: bytes, exchange: str = "", key: str | bytes | None = None, **properties: Any
    ) -> None:
        """Publish, and wait until the broker has it."""
        await trio.to_thread.run_sync(self._send, bodies, exchange, key or self._queue, properties)

    async def call(self, *bodies: bytes, exclusive: bool = False, correlated: bool = True) -> list[Any]:
        """Publish requests, wait for the replies; returns (properties, body) of each as they came."""
        return await trio.to_thread.run_sync(self._call, bodies, exclusive, correlated)

    async def read(self, queue: str | None = None) -> list[tuple[Any, Any, bytes]]:
        """Take all that waits in a queue, as (method, properties, body)."""
        return await trio.to_thread.run_sync(self._read, queue or self._queue)

    async def count(self, queue: str) -> int:
        """How many messages wait in a queue."""
        return await trio.to_thread.run_sync(self._count, queue)

    async def declare(self, queue: str, **arguments: Any) -> None:
        """Declare a transient queue."""
        await trio.to_thread.run_sync(self._declare, queue, arguments)

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Declare a queue and bind it."""
        await trio.to_thread.run_sync(self._bind, queue, exchange, key)

    async def delete(self, queue: str) -> None:
        """Delete a queue."""
        await trio.to_thread.run_sync(self._delete, queue)

    def _send(
        self, bodies: Sequence[bytes], exchange: str, key: str | bytes, properties: dict[str, Any]
    ) -> None:
        with self._broker.channel() as channel:
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=True)

    def _call(self, bodies: Sequence[bytes], exclusive: bool, correlated: bool) -> list[Any]:  # noqa: FBT001 - run in a thread, which passes by place
        replies: list[Any] = []
        with self._broker.channel() as channel:
            address = channel.queue_declare("", exclusive=True).method.queue if exclusive else PSEUDO_QUEUE
            channel.basic_consume(address, lambda *reply: replies.append(reply[2:]), auto_ack=True)
            for n, body in enumerate(bodies):
                correlation_id = f"call-{n}" if correlated else None
                properties = pika.BasicProperties(reply_to=address, correlation_id=correlation_id)
                channel.basic_publish("", self._queue, body, properties)
            while len(replies) < len(bodies):
                channel.connection.process_data_events(time_limit=REPLY_SECONDS)
        return replies

    def _read(self, queue: str) -> list[tuple[Any, Any, bytes]]:
        with self._broker.channel() as channel:
            taken = iter(lambda: channel.basic_get(queue, auto_ack=True), (None, None, None))
            return list(taken)

    def _count(self, queue: str) -> int:
        with self._broker.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

    def _declare(self, queue: str, arguments: dict[str, Any]) -> None:
        with self._broker.channel() as channel:
            channel.queue_declare(queue, arguments=arguments)

    def _bind(self, queue: str, exchange: str, key: str) -> None:
        with self._broker.channel() as channel:
            channel.queue_declare(queue)
            channel.queue_bind(queue, exchange, key)

    def _delete(self, queue: str) -> None:
        with self._broker.channel() as channel:
            channel.queue_delete(queue)


async def answer(session: Session, count: int, **reply: Any) -> list[Settled]:
    """Receive so many requests and settle them at once; each reply is its request's body in capitals."""
    requests = [await session.requests.receive() for _ in range(count)]
    return await session.settle(
        [Answer(request, Reply(body=request.body.upper(), **reply)) for request in requests]
    )


async def declare_durable(broker: Broker, *queues: str) -> None:
    """Declare queues that outlive the broker, as a worker's do."""

    def declare() -> None:
        with broker.channel() as channel:
            for queue in queues:
                channel.queue_declare(queue, durable=True)

    await trio.to_thread.run_sync(declare)
