"""Asking a broker what it has and what it lets us do, without changing anything there.

AMQP has no question for a permission. But RabbitMQ looks at permissions before it looks at anything else, so
each is asked for with a request that no broker can grant: 403 (`ACCESS_REFUSED`) means that it is not
permitted, 406 (`PRECONDITION_FAILED`) that it was only impossible.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from aiormq import Channel
from aiormq.exceptions import ChannelClosed
from pamqp.commands import Basic

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Link
from rpcb_trio._transports._amqp._limits import largest_message
from rpcb_trio._transports._amqp._loop import AioLoop
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

    def __init__(self, loop: AioLoop, link: Link, address: Address) -> None:
        self._loop = loop
        self._link = link
        self._address = address
        self._asking = trio.CancelScope()
        self._blocked: str | None = None
        link.on_blocked(self._give_up)

    @property
    def broker(self) -> BrokerFacts:
        """The broker, and how we are connected."""
        properties = self._link.server_properties
        tls = self._link.tls
        certificate = (tls.getpeercert() if tls else None) or {}
        until = certificate.get("notAfter")
        return BrokerFacts(
            product=str(properties.get("product", "unknown")),
            version=str(properties.get("version", "unknown")),
            largest_message=largest_message(properties),
            host=self._address.host,
            port=self._address.port,
            vhost=self._link.vhost,
            user=self._address.user,
            login=self._address.login,
            heartbeat=self._link.heartbeat,
            tls=tls.version() if tls else None,
            verified=tls is None or bool(certificate),
            certificate_days=_days_left(until) if isinstance(until, str) else None,
        )

    async def queue(self, name: str) -> QueueFacts | str:
        """What is in a queue and who consumes it, or why that can't be told."""
        found: list[QueueFacts] = []

        async def look(channel: Channel) -> None:
            seen = await channel.queue_declare(name, passive=True)
            found.append(QueueFacts(ready=seen.message_count or 0, consumers=seen.consumer_count or 0))

        refusal = await self._try(look)
        return found[0] if refusal is None else refusal

    async def refusal_of_queue(self, topology: Topology) -> str | None:
        """How an existing queue differs from the settings; None if it is the same.

        Asked by declaring it again, which would create it if it were not there.
        """
        return await self._try(
            lambda channel: channel.queue_declare(
                topology.queue, durable=topology.durable, arguments=queue_arguments(topology)
            )
        )

    async def refusal_of_exchange(self, topology: Topology) -> str | None:
        """How an existing exchange differs; None if it is the same. Likewise."""
        return await self._try(
            lambda channel: channel.exchange_declare(
                topology.exchange, exchange_type=topology.exchange_type, durable=topology.durable
            )
        )

    async def missing_exchange(self, name: str) -> str | None:
        """Why an exchange can't be used; None if it is there."""
        return await self._try(lambda channel: channel.exchange_declare(name, passive=True))

    async def refusal_to_declare(self, queue: str) -> str | None:
        """Why we may not declare a queue of that name; None if we may."""
        impossible: dict[str, Any] = {"x-max-length": -1}
        return _unless_impossible(
            await self._try(lambda channel: channel.queue_declare(queue, durable=True, arguments=impossible))
        )

    async def refusal_to_read(self, queue: str) -> str | None:
        """Why we may not consume a queue; None if we may."""
        impossible: dict[str, Any] = {"x-priority": "high"}
        return _unless_impossible(
            await self._try(
                lambda channel: channel.basic_consume(queue, _drop, no_ack=False, arguments=impossible)
            )
        )

    async def refusal_to_write(self, exchange: str, routing_key: str = "") -> str | None:
        """Why we may not publish to an exchange; None if we may."""
        impossible = Basic.Properties(expiration="soon")
        return _unless_impossible(
            await self._try(
                lambda channel: channel.basic_publish(
                    b"", exchange=exchange, routing_key=routing_key, properties=impossible, mandatory=True
                )
            )
        )

    async def _try(self, step: Callable[[Channel], Awaitable[object]]) -> str | None:
        with trio.CancelScope() as self._asking:
            if self._blocked is None:
                return await self._loop.call(self._refusal, step)
        raise SessionLost(
            f"the broker takes no messages ({self._blocked}), and answers no more questions; free some there"
        )

    def _give_up(self, reason: str | None) -> None:
        self._blocked = self._blocked or reason
        self._asking.cancel()

    async def _refusal(self, step: Callable[[Channel], Awaitable[object]]) -> str | None:
        """On a channel of its own, since a refusal closes it; asyncio-flavoured."""
        channel = await self._link.channel(confirms=True)
        try:
            await step(channel)
        except ChannelClosed as exc:
            return describe(exc)
        except (ValueError, TypeError) as exc:  # pamqp's, before anything is sent
            return f"it can't be put into AMQP: {exc}"
        await channel.close()
        return None


def _unless_impossible(refusal: str | None) -> str | None:
    return None if refusal is None or refusal.startswith(IMPOSSIBLE) else refusal


async def _drop(_: object) -> None:
    """Nothing is ever delivered to a consumer that is refused."""


def _days_left(until: str) -> float:
    return (ssl.cert_time_to_seconds(until) - time.time()) / DAY
