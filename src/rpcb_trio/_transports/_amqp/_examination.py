"""Asking a broker what it has and what it lets us do, without changing anything there.

AMQP has no question for a permission. But RabbitMQ looks at permissions before it looks at anything else, so
each is asked for with a request that no broker can grant: 403 (`ACCESS_REFUSED`) means that it is not
permitted, 406 (`PRECONDITION_FAILED`) that it was only impossible.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import trio
from aiormq import Channel
from aiormq.exceptions import ChannelClosed

from rpcb_trio._errors import BrokerError, SessionLost
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._control import ControlChannel
from rpcb_trio._transports._amqp._data import Message, Publications, PublishStatus
from rpcb_trio._transports._amqp._lasting import how_it_goes
from rpcb_trio._transports._amqp._methods import Consume, DeclareExchange, DeclareQueue
from rpcb_trio._transports._amqp._properties import Properties
from rpcb_trio._transports._amqp._topology import queue_arguments
from rpcb_trio._transports._amqp._url import Address
from rpcb_trio._transports._facts import BrokerFacts, QueueFacts
from rpcb_trio._transports._protocol import Topology

REFUSED, IMPOSSIBLE = "ACCESS_REFUSED", "PRECONDITION_FAILED"

DAY = 86400.0


class Examination:
    """A connection to look around with. What the broker refuses is returned, in its own words.

    A broker short of memory or disk stops listening to who publishes; who asks on then gets `SessionLost`.
    """

    def __init__(
        self, connection: Connection, address: Address, dial: Callable[[str], Awaitable[Connection]]
    ) -> None:
        self._connection = connection
        self._dial = dial
        self._address = address
        self._asking = trio.CancelScope()
        self._blocked: str | None = None
        connection.on_blocked(self._give_up)

    @property
    def broker(self) -> BrokerFacts:
        """The broker, and how we are connected."""
        properties = self._connection.server_properties
        tls = self._connection.tls
        certificate = (tls.getpeercert() if tls else None) or {}
        until = certificate.get("notAfter")
        return BrokerFacts(
            product=str(properties.get("product", "unknown")),
            version=str(properties.get("version", "unknown")),
            largest_message=self._connection.largest_message,
            host=self._address.host,
            port=self._address.port,
            vhost=self._connection.vhost,
            user=self._address.user,
            login=self._address.login,
            heartbeat=self._connection.heartbeat,
            tls=tls.version() if tls else None,
            verified=tls is None or bool(certificate),
            certificate_days=_days_left(until) if isinstance(until, str) else None,
        )

    async def queue(self, name: str) -> QueueFacts | str:
        """What is in a queue and who consumes it, or why that can't be told."""
        found: list[QueueFacts] = []

        async def look(channel: ControlChannel) -> None:
            seen = await channel.ask(Channel.rpc, DeclareQueue(queue=name, passive=True))
            found.append(QueueFacts(ready=seen.message_count or 0, consumers=seen.consumer_count or 0))

        refusal = await self._try(look)
        return found[0] if refusal is None else refusal

    async def how_it_goes(self, queue: str) -> str | None:
        """How a queue goes with all that waits in it; None where it stays, or that is not told."""
        with self._giving_up():
            return await how_it_goes(self._connection, queue)
        return None

    async def refusal_of_connections(self, channels: Mapping[str, int]) -> tuple[int, str] | None:
        """Which of so many connections is the first that we may not have, and why; None if we may have all.

        Each has a role and so many channels. All are open at once; this one is the first of them.
        """
        opened = list[Connection]()
        try:
            for count, (role, wanted) in enumerate(channels.items()):
                try:
                    if count:
                        opened.append(await self._dial(role))
                    connection = opened[-1] if opened else self._connection
                    for _ in range(wanted if count else 0):
                        await connection.channel()
                except (BrokerError, ChannelClosed) as exc:
                    return count, describe(exc)
        finally:
            for connection in opened:
                await connection.close()
        return None

    async def refusal_of_queue(self, topology: Topology) -> str | None:
        """How an existing queue differs from the settings; None if it is the same.

        Asked by declaring it again, which would create it if it were not there.
        """
        return await self._try(
            lambda channel: channel.ask(
                Channel.rpc,
                DeclareQueue(
                    queue=topology.queue,
                    durable=topology.durable,
                    arguments=queue_arguments(topology),
                ),
            )
        )

    async def refusal_of_exchange(self, topology: Topology) -> str | None:
        """How an existing exchange differs; None if it is the same. Likewise."""
        return await self._try(
            lambda channel: channel.ask(
                Channel.rpc,
                DeclareExchange(
                    exchange=topology.exchange,
                    exchange_type=topology.exchange_type,
                    durable=topology.durable,
                ),
            )
        )

    async def missing_exchange(self, name: str) -> str | None:
        """Why an exchange can't be used; None if it is there."""
        return await self._try(
            lambda channel: channel.ask(Channel.rpc, DeclareExchange(exchange=name, passive=True))
        )

    async def refusal_to_declare(self, queue: str) -> str | None:
        """Why we may not declare a queue of that name; None if we may."""
        impossible: dict[str, Any] = {"x-max-length": -1}
        return _unless_impossible(
            await self._try(
                lambda channel: channel.ask(
                    Channel.rpc, DeclareQueue(queue=queue, durable=True, arguments=impossible)
                )
            )
        )

    async def refusal_to_read(self, queue: str) -> str | None:
        """Why we may not consume a queue; None if we may."""
        impossible: dict[str, Any] = {"x-priority": "high"}
        return _unless_impossible(
            await self._try(
                lambda channel: channel.ask(Channel.rpc, Consume(queue=queue, arguments=impossible))
            )
        )

    async def refusal_to_write(self, exchange: str, routing_key: str = "") -> str | None:
        """Why we may not publish to an exchange; None if we may."""
        impossible = Message(b"", Properties(expiration="soon"), routing_key, exchange)
        with self._giving_up():
            publications = await self._connection.data_channel(Publications, confirms=True)
            [result] = await publications.publish([impossible]).wait()
            if publications.is_open:
                await publications.control.close()
        if result.status is PublishStatus.UNSENDABLE:
            return result.why
        closing = publications.closing
        if closing is None:
            return None
        if closing.is_of_connection:
            raise SessionLost(closing.why)
        return _unless_impossible(closing.why)

    async def _try(self, step: Callable[[ControlChannel], Awaitable[object]]) -> str | None:
        """On a channel of its own, since a refusal closes it."""
        with self._giving_up():
            channel = await self._connection.channel()
            try:
                await step(channel)
            except ChannelClosed as exc:
                return describe(exc)
            except (ValueError, TypeError) as exc:  # the codec's, before anything is sent
                return f"it can't be put into AMQP: {exc}"
            await channel.close()
        return None

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Ask no more once the broker listens to nobody.

        Raises:
            SessionLost: it does not.
        """
        with trio.CancelScope() as self._asking:
            if self._blocked is None:
                yield
                return
        raise SessionLost(
            f"the broker takes no messages ({self._blocked}), and answers no more questions; free some there"
        )

    def _give_up(self, reason: str | None) -> None:
        self._blocked = self._blocked or reason
        self._asking.cancel()


def _unless_impossible(refusal: str | None) -> str | None:
    return None if refusal is None or refusal.startswith(IMPOSSIBLE) else refusal


def _days_left(until: str) -> float:
    return (ssl.cert_time_to_seconds(until) - time.time()) / DAY
