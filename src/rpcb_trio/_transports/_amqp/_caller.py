"""A client's session: requests go out and replies come in on one channel, as direct reply-to demands."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import NoReturn

from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from rpcb_trio._errors import Refused, SettingError, Unroutable
from rpcb_trio._messages import NO_HEADERS, Outgoing, Reply
from rpcb_trio._transports._amqp._connection import Link
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._parcel import PERSISTENT
from rpcb_trio._transports._amqp._sender import exchange_exists

PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
"""The broker puts this channel's own address in its place."""


class AmqpCaller:
    """Implements `CallerSession`."""

    def __init__(self, loop: AioLoop, loss: Loss) -> None:
        self._loop = loop
        self._loss = loss
        self._take: Callable[[Reply], None]
        self._link: Link
        self._channel: Channel
        self._exchanges = {""}
        self._asking = asyncio.Lock()

    def on_reply(self, take: Callable[[Reply], None]) -> None:
        """Name who takes the replies (see `CallerSession`)."""
        self._take = take

    async def publish(self, request: Outgoing) -> None:
        """Send a request (see `CallerSession`).

        Raises:
            Refused: the broker would not take it; its queue is full.
            SettingError: it can't be put into AMQP.
        """
        await self._loop.call(self._publish, request)

    async def watch(self) -> NoReturn:
        """Wait for the end (see `CallerSession`)."""
        await self._loss.watch()

    async def listen(self, link: Link) -> None:
        """Have the replies delivered; asyncio-flavoured."""
        self._link = link
        self._channel = await link.channel(confirms=True)
        self._channel.closing.add_done_callback(link.told(self._loss.report))
        await self._channel.basic_consume(PSEUDO_QUEUE, self._receive, no_ack=True)

    async def _receive(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        self._take(
            Reply(
                body=message.body,
                correlation_id=properties.correlation_id,
                headers=properties.headers or NO_HEADERS,
                content_type=properties.content_type or "application/octet-stream",
            )
        )

    async def _publish(self, request: Outgoing) -> None:
        where = f"exchange {request.exchange!r} with routing key {request.routing_key!r}"
        if not await self._knows(request.exchange):
            raise Unroutable(f"there is no {where}: the exchange is missing")
        try:
            await self._channel.basic_publish(
                request.body,
                exchange=request.exchange,
                routing_key=request.routing_key,
                properties=to_properties(request),
                mandatory=True,
                wait=False,
            )
        except PublishError as exc:
            raise Unroutable(request.why_returned()) from exc
        except DeliveryError as exc:
            raise Refused(f"the broker would not take a request to {where}; is the queue full?") from exc
        except (ValueError, TypeError, ArithmeticError, struct.error) as exc:
            # pamqp's, before anything was sent.
            if self._channel.is_closed:  # its own end, which may be of any type
                raise
            raise SettingError(f"the request can't be put into AMQP: {exc}") from exc

    async def _knows(self, exchange: str) -> bool:
        """To publish to a missing exchange would close the channel under all the other calls."""
        if exchange in self._exchanges:
            return True
        async with self._asking:
            if exchange not in self._exchanges and await exchange_exists(self._link, exchange):
                self._exchanges.add(exchange)
        return exchange in self._exchanges


def to_properties(request: Outgoing) -> Basic.Properties:
    """The AMQP properties of a request; expirations are whole milliseconds, written out."""
    expiration = request.expiration
    return Basic.Properties(
        content_type=request.content_type,
        headers=dict(request.headers) or None,  # type: ignore[arg-type] # pamqp checks each value
        delivery_mode=PERSISTENT,
        priority=request.priority,
        correlation_id=request.correlation_id,
        reply_to=PSEUDO_QUEUE,
        expiration=None if expiration is None else str(max(0, round(expiration * 1000))),
    )
