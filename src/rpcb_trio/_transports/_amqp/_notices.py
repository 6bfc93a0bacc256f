"""Notices on a topic exchange: sent without confirms, and received by all that listen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import anyio
import trio

from rpcb_trio._messages import Notice
from rpcb_trio._transports._amqp._data._closing import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    ChannelRefused,
)
from rpcb_trio._transports._amqp._data._connection import ASK_SECONDS, Connection, DataChannel
from rpcb_trio._transports._amqp._data._consumption import Consumption
from rpcb_trio._transports._amqp._session._rights import try_to_publish
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._amqp._topology import explaining_refusals
from rpcb_trio._transports._codec._frame_writer import publish
from rpcb_trio._transports._codec._frames import Delivery
from rpcb_trio._transports._codec._properties import TRANSIENT, Properties
from rpcb_trio._transports._topology import check_exchange
from rpcb_trio.errors import SessionLost, TopologyMismatch

BUFFER = 1024
"""Notices that may wait for a listener, here and as many again at the broker."""

OTHER_TYPE = "it is there, but no topic exchange; name another one"
MAY_NOT_DECLARE = (
    "it does not exist, and the user may not declare it; grant that, or create it, a durable topic exchange"
)
MAY_NOT_LOOK = (
    "the user has no right to it, so the broker does not tell whether it exists; grant write to workers, "
    "read to listeners, and create it, a durable topic exchange, if it does not exist"
)
MAY_NOT_PUBLISH = "the user may not publish there; grant write, or leave events out"
MAY_NOT_LISTEN = "the user may not listen there; grant read on it, and all rights on queues named amq.gen-..."


class AmqpPublisher:
    """Implements `NoticePublisher`."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._connection: Connection
        self._channel: DataChannel
        self._is_taken = trio.Event()
        """Whether the broker takes any, for all we know."""
        self._is_taken.set()

    async def open(self, connection: Connection) -> None:
        self._connection = connection
        connection.on_blocked(self._change)
        connection.on_close(lambda _: self._is_taken.set())
        await declare_topic_exchange(connection, self._exchange)
        await check_rights(connection, self._exchange)
        self._channel = await connection.data_channel(DataChannel)

    async def publish(self, notices: Sequence[Notice]) -> None:
        await self._is_taken.wait()
        if self._channel.closing is not None:
            raise SessionLost(self._channel.closing.why)
        for notice in notices:
            self._connection.wire.write(self._frames(notice))
        self._connection.wire.flush()
        await self._connection.wire.drained()  # a broker short of memory does not read

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
    """Implements `NoticeSubscriber`."""

    def __init__(self, end: SessionEnd) -> None:
        self._end = end
        self._connection: Connection
        self._put, self.bodies = anyio.create_memory_object_stream[bytes](BUFFER)

    async def listen(self, connection: Connection, exchange: str) -> None:
        self._connection = connection
        await declare_topic_exchange(connection, exchange)
        consumption = await connection.data_channel(Consumption)
        consumption.take = self._take
        consumption.end = lambda why: self._end.report(why or "the broker ended the subscription to events")
        channel = consumption.control
        with explaining_refusals(_named(exchange), MAY_NOT_LISTEN):
            # Its name is the broker's choice, and it goes with the connection.
            queue = await channel.declare_queue("", exclusive=True, arguments={"x-max-length": BUFFER})
            await channel.bind_queue(queue.name, exchange, "#")
            await channel.consume(queue.name, no_ack=True)

    async def depth(self, queue: str) -> int | None:
        try:
            async with self._connection.throwaway_channel(ASK_SECONDS) as channel:
                return (await channel.declare_queue(queue, passive=True)).ready
        except (ChannelRefused, ValueError):  # it may be gone, or another's own
            return None

    async def watch(self) -> NoReturn:
        await self._end.watch()

    def close(self) -> None:
        self._put.close()
        self.bodies.close()

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        with suppress(anyio.WouldBlock, anyio.ClosedResourceError):
            for delivery in deliveries:
                self._put.send_nowait(delivery.body)


async def check_rights(connection: Connection, exchange: str) -> None:
    """Have the broker look at the right to publish events.

    Raises:
        TopologyMismatch: the user may not.
    """
    with explaining_refusals(_named(exchange), MAY_NOT_PUBLISH):
        await try_to_publish(connection, exchange)


def _named(exchange: str) -> str:
    """The exchange as an error names it, with its setting."""
    return f"events: exchange {exchange!r}"


async def declare_topic_exchange(connection: Connection, exchange: str) -> None:
    """Create it, or take it as it is if it is a topic exchange.

    Raises:
        TopologyMismatch: it can't be had.
        SettingError: no exchange can have that name.
    """
    check_exchange(exchange)
    with explaining_refusals(_named(exchange)):
        try:
            await _declare(connection, exchange, passive=False)
        except ChannelRefused as exc:
            if exc.code == ACCESS_REFUSED:
                await _find(connection, exchange, str(exc))
            elif exc.code != PRECONDITION_FAILED:
                raise
            elif "arg 'type'" in str(exc):
                raise TopologyMismatch(f"{_named(exchange)}: {OTHER_TYPE} ({exc})") from exc


async def _find(connection: Connection, exchange: str, refusal: str) -> None:
    try:
        await _declare(connection, exchange, passive=True)
    except ChannelRefused as exc:
        if exc.code == NOT_FOUND:
            raise TopologyMismatch(f"{_named(exchange)}: {MAY_NOT_DECLARE} ({refusal})") from exc
        if exc.code == ACCESS_REFUSED:  # from RabbitMQ 4.3 on, a user without a right may not look either
            raise TopologyMismatch(f"{_named(exchange)}: {MAY_NOT_LOOK} ({exc})") from exc
        raise


async def _declare(connection: Connection, exchange: str, *, passive: bool) -> None:
    async with connection.throwaway_channel() as channel:
        await channel.declare_exchange(exchange, "topic", passive=passive, durable=True)
