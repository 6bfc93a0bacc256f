"""Publishing to addresses that may lead nowhere, without harm to what is published beside it."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from aiormq import Channel
from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._control import ControlChannel
from rpcb_trio._transports._amqp._data import (
    RETURNED,
    Message,
    Publications,
    PublishResult,
    PublishStatus,
)
from rpcb_trio._transports._amqp._methods import DeclareExchange

ABSENT_SECONDS = 5.0
"""How long an exchange that was not there is taken to be absent still."""


class Exchanges:
    """Which exchanges are there. To publish to a missing one would close the channel under all else on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._there = {""}
        self._not_there: dict[str, tuple[float, PublishResult]] = {}
        """Until when that is believed, and what becomes of messages to it."""
        self._asking = anyio.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._there

    async def refusal(self, name: str) -> PublishResult | None:
        """What becomes of messages to an exchange that is not there, or that we may not see; else None.

        The broker is asked once.

        Raises:
            SessionLost: the connection is gone.
        """
        if name in self._there:
            return None
        async with self._asking:  # who waits here may find it answered
            now = anyio.current_time()
            self._not_there = {each: told for each, told in self._not_there.items() if told[0] > now}
            if name in self._there or name in self._not_there:
                return self._not_there[name][1] if name in self._not_there else None
            found = await _look_for(name, self._connection)
            if found is None:
                self._there.add(name)
            else:
                self._not_there[name] = now + ABSENT_SECONDS, found
        return found


async def _look_for(exchange: str, connection: Connection) -> PublishResult | None:
    """Ask the broker on a channel of its own, since a no closes the channel."""
    async with connection.one_question() as channel:
        return await _ask(exchange, channel)


async def _ask(exchange: str, channel: ControlChannel) -> PublishResult | None:
    try:
        await channel.ask(Channel.rpc, DeclareExchange(exchange=exchange, passive=True))
    except (ChannelNotFoundEntity, ValueError):  # there are names that no exchange can have
        return PublishResult(PublishStatus.RETURNED, f"there is no exchange {exchange!r}")
    except ChannelClosed as exc:  # from RabbitMQ 4.3 on, who has no right to it may not look either
        return PublishResult(PublishStatus.BLAMED, describe(exc))
    return None


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
        """Leave out what goes to an exchange that is not there."""
        refusals = [
            None if message is None else await self._exchanges.refusal(message.exchange)
            for message in messages
        ]
        sent = [
            message if refusal is None else None for message, refusal in zip(messages, refusals, strict=True)
        ]
        results = await self._publications.publish(sent).wait()
        return [refusal or result for refusal, result in zip(refusals, results, strict=True)]

    async def _try_otherwise(self, messages: Sequence[Message | None], results: list[PublishResult]) -> None:
        """Try what an address may mean where there is no queue of its name."""
        places: list[int] = []
        again: list[Message] = []
        for place, (message, result) in enumerate(zip(messages, results, strict=True)):
            if result is RETURNED and message is not None and message.otherwise is not None:
                exchange, routing_key = message.otherwise
                places.append(place)
                again.append(
                    Message(message.body, message.properties, routing_key, exchange, message.mandatory)
                )
        try:
            found = await self._send_where_possible(again)
        except SessionLost as lost:  # the others' results are known, and must not be lost with these
            found = [PublishResult(PublishStatus.LOST, str(lost))] * len(again)
        for place, result in zip(places, found, strict=True):
            results[place] = result
