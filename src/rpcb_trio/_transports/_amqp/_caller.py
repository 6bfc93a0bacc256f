"""A client's session: requests go out and replies come in on one channel, as direct reply-to demands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import anyio
from aiormq import Channel
from aiormq.exceptions import ChannelClosed

from rpcb_trio._errors import Refused, RpcbError, SessionLost, SettingError, Unroutable
from rpcb_trio._messages import NO_HEADERS, Outgoing, Reply
from rpcb_trio._transports._amqp._addressing import PERSISTENT
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._closing import Closing
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._data import Message, Publications, PublishResult, PublishStatus
from rpcb_trio._transports._amqp._frames import Delivery
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._properties import Properties
from rpcb_trio._transports._amqp._publishing import Exchanges

PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
"""The broker puts this channel's own address in its place."""


class AmqpCaller:
    """Implements `CallerSession`."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._take: Callable[[Reply], None]
        self._connection: Connection
        self._channel: _Calls
        self._exchanges: Exchanges

    def on_reply(self, take: Callable[[Reply], None]) -> None:
        """Name who takes the replies (see `CallerSession`)."""
        self._take = take

    async def publish(self, request: Outgoing, failed: Callable[[RpcbError], None]) -> None:
        """Send a request (see `CallerSession`)."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._channel.closing is not None:
            raise SessionLost(self._loss.reason or self._channel.closing.why)
        if request.exchange not in self._exchanges:
            await self._refuse_unless_there(request)
        if not self._connection.is_drained:  # else what a broker does not read would pile up here
            await self._connection.drained()
        self._channel.write(to_message(request), _Call(request, failed))
        self._connection.flush()

    async def _refuse_unless_there(self, request: Outgoing) -> None:
        refusal = await self._exchanges.refusal(request.exchange)
        if refusal is not None and refusal.status is PublishStatus.RETURNED:
            raise Unroutable(f"there is no {_address(request)}: the exchange is missing")
        if refusal is not None:
            raise Refused(f"the broker would not take a request to {_address(request)}: {refusal.why}")

    async def watch(self) -> NoReturn:
        """Wait for the end (see `CallerSession`)."""
        await self._loss.watch()

    async def listen(self, connection: Connection) -> None:
        """Have the replies delivered."""
        self._connection = connection
        self._exchanges = Exchanges(connection)
        self._channel = channel = await connection.data_channel(_Calls, confirms=True)
        channel.take, channel.end = self._receive, self._loss.report
        try:
            await channel.control.ask(Channel.basic_consume, PSEUDO_QUEUE, _never, no_ack=True)
        except ChannelClosed as exc:
            raise SessionLost(describe(exc)) from exc

    def _receive(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            properties = delivery.properties or Properties()  # nobody's reply, if they can't be read
            self._take(
                Reply(
                    body=delivery.body,
                    correlation_id=properties.correlation_id,
                    headers=properties.headers or NO_HEADERS,
                    content_type=properties.content_type or "application/octet-stream",
                )
            )


class _Calls(Publications):
    """Publishes requests, and takes their replies."""

    take: Callable[[Sequence[Delivery]], None] = staticmethod(lambda _: None)
    end: Callable[[str], None] = staticmethod(lambda _: None)

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """See `DataChannel`."""
        self.take(deliveries)

    def close(self, closing: Closing) -> None:
        """See `DataChannel`."""
        self.end(closing.why)
        super().close(closing)


class _Call:
    """Tells a caller what became of its request, where it reached no queue."""

    __slots__ = ("_failed", "_request")

    def __init__(self, request: Outgoing, failed: Callable[[RpcbError], None]) -> None:
        self._request = request
        self._failed = failed

    def finish(self, _place: int, result: PublishResult) -> None:
        """See `Sink`."""
        if result.status is PublishStatus.RETURNED:
            self._failed(Unroutable(self._request.why_returned()))
        elif result.status is PublishStatus.NACKED:
            said = f"the broker would not take a request to {_address(self._request)}; is the queue full?"
            self._failed(Refused(said))
        elif result.status is PublishStatus.UNSENDABLE:
            self._failed(SettingError(f"the request can't be put into AMQP: {result.why}"))
        elif result.status is not PublishStatus.CONFIRMED:
            self._failed(SessionLost(result.why))


def _address(request: Outgoing) -> str:
    return f"exchange {request.exchange!r} with routing key {request.routing_key!r}"


def to_message(request: Outgoing) -> Message:
    """A request as it is sent; expirations are whole milliseconds, written out."""
    expiration = request.expiration
    return Message(
        body=request.body,
        exchange=request.exchange,
        routing_key=request.routing_key,
        properties=Properties(
            content_type=request.content_type,
            headers=request.headers or None,
            delivery_mode=PERSISTENT,
            priority=request.priority,
            correlation_id=request.correlation_id,
            reply_to=PSEUDO_QUEUE,
            expiration=None if expiration is None else str(max(0, round(expiration * 1000))),
            message_id=request.correlation_id,
        ),
    )


async def _never(_: object) -> None:
    """What aiormq would call with a reply; those never reach it."""
