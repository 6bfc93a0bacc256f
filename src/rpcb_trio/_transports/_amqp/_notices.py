"""Notices on a topic exchange: sent without confirms, and heard by who listens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import anyio
import trio
from aiormq import Channel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from rpcb_trio._errors import SessionLost, SettingError, TopologyMismatch
from rpcb_trio._messages import Notice
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._data import Consumption, DataChannel
from rpcb_trio._transports._amqp._frame_writer import publish
from rpcb_trio._transports._amqp._frames import Delivery
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._methods import BindQueue, DeclareExchange, DeclareQueue
from rpcb_trio._transports._amqp._properties import Properties
from rpcb_trio._transports._amqp._rights import try_to_publish
from rpcb_trio._transports._amqp._topology import told_by_topology

BUFFER = 1024
"""Notices that may wait for who listens, here and as many again at the broker."""

TRANSIENT = 1

OTHER_TYPE = "it is there, but no topic exchange; name another one"
MAY_NOT_DECLARE = (
    "it does not exist, and the user may not declare it; grant that, or create it, a durable topic exchange"
)
MAY_NOT_LOOK = (
    "the user has no right to it, so the broker does not tell whether it exists; grant write to who tells, "
    "read to who listens, and create it, a durable topic exchange, if it does not exist"
)
MAY_NOT_PUBLISH = "the user may not publish there; grant write, or leave events out"
MAY_NOT_LISTEN = "the user may not listen there; grant read on it, and all rights on queues named amq.gen-..."


class AmqpPublisher:
    """Implements `Publisher`."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._connection: Connection
        self._channel: DataChannel
        self._is_taken = trio.Event()
        """Whether the broker takes any, for all we know."""
        self._is_taken.set()

    async def open(self, connection: Connection) -> None:
        """Make ready to send."""
        self._connection = connection
        connection.on_blocked(self._change)
        connection.on_close(lambda _: self._is_taken.set())
        await declare_topic_exchange(connection, self._exchange)
        await see_that_it_may_publish(connection, self._exchange)
        self._channel = await connection.data_channel(DataChannel)

    async def publish(self, notices: Sequence[Notice]) -> None:
        """Send them (see `Publisher`)."""
        await self._is_taken.wait()
        if self._channel.closing is not None:
            raise SessionLost(self._channel.closing.why)
        for notice in notices:
            self._connection.write(self._frames(notice))
        self._connection.flush()
        await self._connection.drained()  # a broker short of memory does not read

    def _frames(self, notice: Notice) -> list[bytes | memoryview]:
        properties = Properties(
            content_type=notice.content_type,
            delivery_mode=TRANSIENT,
            expiration=str(round(notice.expiration * 1000)),
        )
        return publish(
            self._channel.control.number,
            self._exchange,
            notice.routing_key,
            properties,
            notice.body,
            mandatory=False,
            frame_max=self._connection.frame_max,
        )

    def _change(self, blocked: str | None) -> None:
        if blocked is None:
            self._is_taken.set()
        else:
            self._is_taken = trio.Event()


class AmqpSubscriber:
    """Implements `Subscriber`."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._connection: Connection
        self._put, self.bodies = anyio.create_memory_object_stream[bytes](BUFFER)

    async def listen(self, connection: Connection, exchange: str) -> None:
        """Have all notices delivered."""
        self._connection = connection
        await declare_topic_exchange(connection, exchange)
        consumption = await connection.data_channel(Consumption)
        consumption.take = self._take
        consumption.end = lambda why: self._loss.report(why or "the broker ended the subscription to events")
        channel = consumption.control
        with told_by_topology(shown(exchange), MAY_NOT_LISTEN):
            # Its name is the broker's choice, and it goes with the connection.
            bounded: dict[str, Any] = {"x-max-length": BUFFER}
            queue = await channel.ask(
                Channel.queue_declare, "", exclusive=True, auto_delete=True, arguments=bounded
            )
            assert queue.queue is not None  # noqa: S101 - for the type checker
            await channel.ask(Channel.rpc, BindQueue(queue=queue.queue, exchange=exchange, routing_key="#"))
            await channel.ask(Channel.basic_consume, queue.queue, _never, no_ack=True)

    async def depth(self, queue: str) -> int | None:
        """How full a queue is (see `Subscriber`)."""
        async with self._connection.one_question() as channel:
            try:
                seen = await channel.ask(Channel.rpc, DeclareQueue(queue=queue, passive=True))
            except (ChannelClosed, ValueError):  # it may be gone, or another's own
                return None
            return seen.message_count

    async def watch(self) -> NoReturn:
        """Wait for the end (see `Subscriber`)."""
        await self._loss.watch()

    def close(self) -> None:
        """End `bodies`."""
        self._put.close()
        self.bodies.close()

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        with suppress(anyio.WouldBlock, anyio.ClosedResourceError):
            for delivery in deliveries:
                self._put.send_nowait(delivery.body)


async def _never(_: object) -> None:
    """What aiormq would call with a notice; those never reach it."""


async def see_that_it_may_publish(connection: Connection, exchange: str) -> None:
    """Have the broker look at the right to publish events.

    Raises:
        TopologyMismatch: the user may not.
    """
    with told_by_topology(shown(exchange), MAY_NOT_PUBLISH):
        await try_to_publish(connection, exchange)


def shown(exchange: str) -> str:
    """The exchange as an error names it, with its setting."""
    return f"events: exchange {exchange!r}"


async def declare_topic_exchange(connection: Connection, exchange: str) -> None:
    """Create it, or take it as it is if it is a topic exchange.

    Raises:
        TopologyMismatch: it can't be had.
        SettingError: no exchange can have that name.
    """
    if not exchange:
        raise SettingError("events names no exchange; name one, or leave it out")
    with told_by_topology(shown(exchange)):
        try:
            await _declare(connection, exchange, passive=False)
        except ChannelPreconditionFailed as exc:
            if "arg 'type'" in (said := describe(exc)):
                raise TopologyMismatch(f"{shown(exchange)}: {OTHER_TYPE} ({said})") from exc
        except ChannelAccessRefused as exc:
            await _find(connection, exchange, describe(exc))


async def _find(connection: Connection, exchange: str, refusal: str) -> None:
    try:
        await _declare(connection, exchange, passive=True)
    except ChannelNotFoundEntity as exc:
        raise TopologyMismatch(f"{shown(exchange)}: {MAY_NOT_DECLARE} ({refusal})") from exc
    except ChannelAccessRefused as exc:  # from RabbitMQ 4.3 on, who has no right to it may not look either
        raise TopologyMismatch(f"{shown(exchange)}: {MAY_NOT_LOOK} ({describe(exc)})") from exc


async def _declare(connection: Connection, exchange: str, *, passive: bool) -> None:
    channel = await connection.channel()
    await channel.ask(
        Channel.rpc,
        DeclareExchange(exchange=exchange, exchange_type="topic", passive=passive, durable=True),
    )
    await channel.close()
