"""A client's session: requests out, replies in, on one channel."""

from __future__ import annotations

import math

import trio
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from rpcb_trio._errors import Unroutable
from rpcb_trio._messages import NO_HEADERS, Outgoing, Reply
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._loss import Loss


class AmqpCaller:
    """Implements `CallerSession`."""

    def __init__(self, loop: AioLoop, loss: Loss) -> None:
        self._loop = loop
        self._loss = loss
        self._deliver, self._replies = trio.open_memory_channel[Reply](math.inf)
        self._channel: AbstractChannel

    @property
    def replies(self) -> trio.MemoryReceiveChannel[Reply]:
        return self._replies

    async def start(self, link) -> None:
        self._channel = await link.channel(confirms=True)
        await self._channel.basic_consume("amq.rabbitmq.reply-to", self._on_reply, no_ack=True)

    async def _on_reply(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        self._deliver.send_nowait(
            Reply(
                body=message.body,
                correlation_id=properties.correlation_id,
                headers=properties.headers or NO_HEADERS,
                content_type=properties.content_type or "application/octet-stream",
            )
        )

    async def publish(self, request: Outgoing) -> None:
        await self._loop.call(self._publish, request)

    async def _publish(self, request: Outgoing) -> None:
        properties = Basic.Properties(
            content_type=request.content_type,
            headers=dict(request.headers) or None,
            delivery_mode=2,
            priority=request.priority,
            correlation_id=request.correlation_id,
            reply_to="amq.rabbitmq.reply-to",
            expiration=None if request.expiration is None else str(int(request.expiration * 1000)),
        )
        try:
            await self._channel.basic_publish(
                request.body,
                exchange=request.exchange,
                routing_key=request.routing_key,
                properties=properties,
                mandatory=True,
                wait=False,
            )
        except PublishError:
            raise Unroutable(
                f"no queue is bound to exchange {request.exchange!r} with routing key {request.routing_key!r}"
            ) from None

    async def watch(self) -> None:
        await self._loss.watch()
