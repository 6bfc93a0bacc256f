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

import trio

from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._data._closing import ChannelRefused
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._publications import (
    Publication,
    PublishChannel,
    PublishStatus,
    wait_for_results,
)
from rpcb_trio._transports._amqp._topology import how_it_ends
from rpcb_trio._transports._amqp._url import Address
from rpcb_trio._transports._codec._properties import Properties
from rpcb_trio._transports._protocol import BrokerFacts, QueueFacts
from rpcb_trio._transports._topology import Topology
from rpcb_trio.errors import BrokerError, SessionLost

REFUSED, IMPOSSIBLE = "ACCESS_REFUSED", "PRECONDITION_FAILED"

DAY = 86400.0


class Examination:
    """A connection to look around with. What the broker refuses is returned, in its own words.

    A broker short of memory or disk stops reading from connections that publish; further questions then raise
    `SessionLost`.
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
            vhost=self._connection.plane.vhost,
            user=self._address.user,
            login=self._address.login,
            heartbeat=self._connection.plane.heartbeat,
            tls=tls.version() if tls else None,
            verified=tls is None or bool(certificate),
            certificate_days=_days_left(until) if isinstance(until, str) else None,
        )

    async def queue(self, name: str) -> QueueFacts | str:
        """How many messages and consumers a queue has, or why the broker does not say."""
        found: list[QueueFacts] = []

        async def look(channel: ControlChannel) -> None:
            seen = await channel.declare_queue(name, passive=True)
            found.append(QueueFacts(ready=seen.ready, consumers=seen.consumers))

        refusal = await self._try(look)
        return found[0] if refusal is None else refusal

    async def how_it_goes(self, queue: str) -> str | None:
        """How a queue goes with all that waits in it; None where it stays, or the broker does not say."""
        with self._giving_up():
            return await how_it_ends(self._connection, queue)
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
                except (BrokerError, ChannelRefused) as exc:
                    return count, str(exc)
        finally:
            for connection in opened:
                await connection.aclose()
        return None

    async def refusal_of_queue(self, topology: Topology) -> str | None:
        """How an existing queue differs from the settings; None if it is the same.

        Asked by declaring it again, which would create it if it were not there.
        """
        return await self._try(
            lambda channel: channel.declare_queue(
                topology.queue, durable=topology.durable, arguments=topology.queue_arguments
            )
        )

    async def refusal_of_exchange(self, topology: Topology) -> str | None:
        """How an existing exchange differs; None if it is the same. Likewise."""
        return await self._try(
            lambda channel: channel.declare_exchange(
                topology.exchange, topology.exchange_type, durable=topology.durable
            )
        )

    async def missing_exchange(self, name: str) -> str | None:
        """Why an exchange can't be used; None if it is there."""
        return await self._try(lambda channel: channel.declare_exchange(name, passive=True))

    async def refusal_to_declare(self, queue: str) -> str | None:
        """Why we may not declare a queue of that name; None if we may."""
        return _unless_impossible(
            await self._try(
                lambda channel: channel.declare_queue(queue, durable=True, arguments={"x-max-length": -1})
            )
        )

    async def refusal_to_read(self, queue: str) -> str | None:
        """Why we may not consume a queue; None if we may."""
        return _unless_impossible(
            await self._try(lambda channel: channel.consume(queue, arguments={"x-priority": "high"}))
        )

    async def refusal_to_hear(self, exchange: str, routing_key: str) -> str | None:
        """Why we may not hear what is sent to an exchange, in a queue of our own; None if we may.

        That queue goes with this connection.
        """

        async def hear(channel: ControlChannel) -> None:
            queue = await channel.declare_queue("", exclusive=True)
            await channel.bind_queue(queue.name, exchange, routing_key)

        return await self._try(hear)

    async def refusal_to_write(self, exchange: str, routing_key: str = "") -> str | None:
        """Why we may not publish to an exchange; None if we may."""
        impossible = Publication(b"", Properties(expiration="soon"), routing_key, exchange)
        with self._giving_up():
            channel = await self._connection.data_channel(PublishChannel, confirms=True)
            channel.write(impossible)
            self._connection.wire.flush()
            await wait_for_results([impossible])
            if channel.is_open:
                await channel.control.close()
        if impossible.result.status is PublishStatus.UNSENDABLE:
            return impossible.result.why
        closing = channel.closing
        if closing is None:
            return None
        if closing.is_of_connection:
            raise SessionLost(closing.why)
        return _unless_impossible(closing.why)

    async def _try(self, step: Callable[[ControlChannel], Awaitable[object]]) -> str | None:
        """On a channel of its own, since a refusal closes it."""
        with self._giving_up():
            try:
                async with self._connection.throwaway_channel() as channel:
                    await step(channel)
            except ChannelRefused as exc:
                return str(exc)
            except (ValueError, TypeError) as exc:  # the codec's, before anything is sent
                return f"it can't be put into AMQP: {exc}"
        return None

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Ask no more once the broker reads no more from this connection.

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
