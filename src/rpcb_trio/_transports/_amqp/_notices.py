"""Notices on a topic exchange: sent without confirms, and heard by who listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import anyio
import trio
from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from pamqp.commands import Basic

from rpcb_trio._errors import SettingError, TopologyMismatch
from rpcb_trio._messages import Notice
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Link
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._topology import told_by_topology

BUFFER = 1024
"""Notices that may wait for who listens, here and as many again at the broker."""

TRANSIENT = 1

OTHER_TYPE = "it is there, but no topic exchange; name another one"
MAY_NOT_DECLARE = (
    "it does not exist, and the user may not declare it; grant that, or create it, a durable topic exchange"
)
MAY_NOT_PUBLISH = "the user may not publish there; grant write, or leave events out"
MAY_NOT_LISTEN = "the user may not listen there; grant read on it, and all rights on queues named amq.gen-..."


class AmqpPublisher:
    """Implements `Publisher`."""

    def __init__(self, loop: AioLoop, exchange: str) -> None:
        self._loop = loop
        self._exchange = exchange
        self._channel: Channel
        self._is_taken = trio.Event()
        """Whether the broker takes any, for all we know."""
        self._is_taken.set()

    async def open(self, link: Link) -> None:
        """Make ready to send; asyncio-flavoured."""
        link.on_blocked(self._change)
        link.on_close(lambda _: self._is_taken.set())
        await declare_topic_exchange(link, self._exchange)
        await try_to_publish(link, self._exchange)
        self._channel = await link.channel()

    async def publish(self, notices: Sequence[Notice]) -> None:
        """Send them (see `Publisher`)."""
        await self._is_taken.wait()
        await self._loop.call(self._publish, notices)

    def _change(self, blocked: str | None) -> None:
        if blocked is None:
            self._is_taken.set()
        else:
            self._is_taken = trio.Event()

    async def _publish(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            await self._channel.basic_publish(
                notice.body,
                exchange=self._exchange,
                routing_key=notice.routing_key,
                properties=Basic.Properties(
                    content_type=notice.content_type,
                    delivery_mode=TRANSIENT,
                    expiration=str(round(notice.expiration * 1000)),
                ),
                wait=notice is notices[-1],  # for the socket, which a broker short of memory does not read
            )


class AmqpSubscriber:
    """Implements `Subscriber`."""

    def __init__(self, loop: AioLoop, loss: Loss) -> None:
        self._loop = loop
        self._loss = loss
        self._link: Link
        self._put, self.bodies = anyio.create_memory_object_stream[bytes](BUFFER)

    async def listen(self, link: Link, exchange: str) -> None:
        """Have all notices delivered; asyncio-flavoured."""
        self._link = link
        await declare_topic_exchange(link, exchange)
        channel = await link.channel()
        channel.closing.add_done_callback(link.told(self._loss.report))
        channel.on_consumer_cancel_callbacks.add(
            lambda _: self._loss.report("the broker ended the subscription to events")
        )
        with told_by_topology(shown(exchange), MAY_NOT_LISTEN):
            # Its name is the broker's choice, and it goes with the connection.
            queue = await channel.queue_declare(
                "", exclusive=True, auto_delete=True, arguments={"x-max-length": BUFFER}
            )
            assert queue.queue is not None  # noqa: S101 - for the type checker
            await channel.queue_bind(queue.queue, exchange, "#")
            await channel.basic_consume(queue.queue, self._take, no_ack=True)

    async def depth(self, queue: str) -> int | None:
        """How full a queue is (see `Subscriber`)."""
        return await self._loop.call(self._depth, queue)

    async def watch(self) -> NoReturn:
        """Wait for the end (see `Subscriber`)."""
        await self._loss.watch()

    def close(self) -> None:
        """End `bodies`."""
        self._put.close()
        self.bodies.close()

    async def _take(self, message: DeliveredMessage) -> None:
        try:
            self._put.send_nowait(message.body)
        except (anyio.WouldBlock, anyio.ClosedResourceError):
            return

    async def _depth(self, queue: str) -> int | None:
        """On a channel of its own, since a refusal closes it."""
        channel = await self._link.channel()
        try:
            seen = await channel.queue_declare(queue, passive=True)
        except (ChannelClosed, ValueError):  # it may be gone, or another's own
            return None
        await channel.close()
        return seen.message_count


async def try_to_publish(link: Link, exchange: str) -> None:
    """Publish, and take it back: a broker looks at the right to publish only then, and nobody hears of it.

    Raises:
        TopologyMismatch: the user may not.
    """
    with told_by_topology(shown(exchange), MAY_NOT_PUBLISH):
        channel = await link.channel()
        await channel.tx_select()
        await channel.basic_publish(b"", exchange=exchange, routing_key="worker")
        await channel.tx_rollback()
        await channel.close()


def shown(exchange: str) -> str:
    """The exchange as an error names it, with its setting."""
    return f"events: exchange {exchange!r}"


async def declare_topic_exchange(link: Link, exchange: str) -> None:
    """Create it, or take it as it is if it is a topic exchange.

    Raises:
        TopologyMismatch: it can't be had.
        SettingError: no exchange can have that name.
    """
    if not exchange:
        raise SettingError("events names no exchange; name one, or leave it out")
    with told_by_topology(shown(exchange)):
        try:
            await _declare(link, exchange, passive=False)
        except ChannelPreconditionFailed as exc:
            if "arg 'type'" in (said := describe(exc)):
                raise TopologyMismatch(f"{shown(exchange)}: {OTHER_TYPE} ({said})") from exc
        except ChannelAccessRefused as exc:
            await _find(link, exchange, describe(exc))


async def _find(link: Link, exchange: str, refusal: str) -> None:
    try:
        await _declare(link, exchange, passive=True)
    except ChannelNotFoundEntity as exc:
        raise TopologyMismatch(f"{shown(exchange)}: {MAY_NOT_DECLARE} ({refusal})") from exc


async def _declare(link: Link, exchange: str, *, passive: bool) -> None:
    channel = await link.channel()
    await channel.exchange_declare(exchange, exchange_type="topic", passive=passive, durable=True)
    await channel.close()
