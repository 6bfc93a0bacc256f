"""Publishing to addresses that may lead nowhere, without harm to what is published beside it."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from aiormq import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._data import (
    RETURNED,
    Message,
    Publications,
    PublishResult,
    PublishStatus,
)

ABSENT_SECONDS = 5.0
"""How long an exchange that was not there is taken to be absent still."""


class Exchanges:
    """Which exchanges are there. To publish to a missing one would close the channel under all else on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._there = {""}
        self._absent_until: dict[str, float] = {}
        self._asking = anyio.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._there

    async def has(self, name: str) -> bool:
        """Whether there is an exchange of that name; the broker is asked once.

        Raises:
            SessionLost: the connection is gone.
        """
        if name in self._there:
            return True
        async with self._asking:  # who waits here may find it answered
            now = anyio.current_time()
            if name in self._there or self._absent_until.get(name, now) > now:
                return name in self._there
            if await exchange_exists(self._connection, name):
                self._there.add(name)
            else:
                self._absent_until = {each: end for each, end in self._absent_until.items() if end > now}
                self._absent_until[name] = now + ABSENT_SECONDS
        return name in self._there


async def exchange_exists(connection: Connection, exchange: str) -> bool:
    """Ask the broker on a channel of its own, since a no closes the channel."""
    channel = await connection.channel()
    try:
        await channel.ask(Channel.exchange_declare, exchange, passive=True)
    except (ChannelNotFoundEntity, ValueError):  # pamqp refuses names that no exchange can have
        return False
    finally:
        await channel.close()
    return True


class Publisher:
    """A channel to publish on, and what is known of the exchanges that its connection reaches."""

    def __init__(self, publications: Publications) -> None:
        self.connection = publications.connection
        self._publications = publications
        self._exchanges = Exchanges(self.connection)

    @classmethod
    async def open(cls, connection: Connection) -> Publisher:
        """Open a channel on a connection.

        Raises:
            SessionLost: the connection is gone.
        """
        return cls(await connection.data_channel(Publications, confirms=True))

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self._publications.is_open

    async def send(self, messages: Sequence[Message | None]) -> list[PublishResult]:
        """Publish all at once, and wait for the broker's word on each."""
        if any(message is not None and message.exchange not in self._exchanges for message in messages):
            return await self._send_where_possible(messages)
        results = await self._publications.publish(messages).wait()
        if RETURNED in results:
            await self._try_otherwise(messages, results)
        return results

    async def _send_where_possible(self, messages: Sequence[Message | None]) -> list[PublishResult]:
        """Leave out what goes to a missing exchange."""
        absent = {
            message.exchange
            for message in messages
            if message is not None and not await self._exchanges.has(message.exchange)
        }
        leads_nowhere = [message is not None and message.exchange in absent for message in messages]
        confirms = self._publications.publish(
            [None if nowhere else message for message, nowhere in zip(messages, leads_nowhere, strict=True)]
        )
        results = await confirms.wait()
        for place, nowhere in enumerate(leads_nowhere):
            if nowhere and (message := messages[place]) is not None:
                why = f"there is no exchange {message.exchange!r}"
                results[place] = PublishResult(PublishStatus.RETURNED, why)
        return results

    async def _try_otherwise(self, messages: Sequence[Message | None], results: list[PublishResult]) -> None:
        """Try what an address may mean where there is no queue of its name."""
        places: list[int] = []
        again: list[Message] = []
        for place, (message, result) in enumerate(zip(messages, results, strict=True)):
            if result is RETURNED and message is not None and message.otherwise is not None:
                exchange, routing_key = message.otherwise
                if await self._exchanges.has(exchange):
                    places.append(place)
                    again.append(
                        Message(message.body, message.properties, routing_key, exchange, message.mandatory)
                    )
        for place, result in zip(places, await self._publications.publish(again).wait(), strict=True):
            results[place] = result
