"""Publishing to addresses that may lead nowhere, without harm to what is published beside it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import anyio
from aiormq import Channel
from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._control import ControlChannel
from rpcb_trio._transports._amqp._data import (
    RETURNED,
    Confirms,
    Message,
    Publications,
    PublishResult,
    PublishStatus,
)
from rpcb_trio._transports._amqp._methods import DeclareExchange
from rpcb_trio._transports._amqp._rights import Rights

PASSED = frozenset({PublishStatus.CONFIRMED, PublishStatus.RETURNED})
"""What is said of a message that its exchange took, whether or not a queue is bound there."""

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

    def __init__(self, publications: Publications, rights: Rights) -> None:
        self.connection = publications.connection
        self.rights = rights
        self._publications = publications
        self._exchanges = Exchanges(self.connection)

    @classmethod
    async def open(cls, connection: Connection, rights: Rights) -> Publisher:
        """Open a channel on a connection.

        Raises:
            SessionLost: the connection is gone.
        """
        return cls(await connection.data_channel(Publications, confirms=True), rights)

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self._publications.is_open

    async def send(self, messages: Sequence[Message | None]) -> Sending:
        """Publish all at once, in one write, but for what goes to an exchange that is not there.

        Raises:
            SessionLost: the connection is gone.
        """
        if all(message is None or message.exchange in self._exchanges for message in messages):
            return Sending(self, list(messages), self._publications.publish(messages))
        refusals = {
            place: refusal
            for place, message in enumerate(messages)
            if message is not None
            and (refusal := await self._exchanges.refusal(message.exchange)) is not None
        }
        return Sending(self, list(messages), self._publications.publish(messages, refusals))

    async def send_again(self, messages: Mapping[int, Message], confirms: Confirms) -> None:
        """Publish messages in the place of others; see `Confirms.reopen`."""
        for place, message in messages.items():
            try:
                refusal = await self._exchanges.refusal(message.exchange)
            except SessionLost as lost:  # the others' results are known, and must not be lost with this one
                refusal = PublishResult(PublishStatus.LOST, str(lost))
            if refusal is None:
                self._publications.write(message, confirms, place)
            else:
                confirms.finish(place, refusal)
        self.connection.flush()

    def forget(self, confirms: Confirms, places: Collection[int]) -> None:
        """Keep nothing of messages that the broker may never confirm."""
        self._publications.forget(confirms, places)


class Sending:
    """Messages on their way, and what became of each."""

    def __init__(self, publisher: Publisher, messages: list[Message | None], confirms: Confirms) -> None:
        self._publisher = publisher
        self._messages = messages
        self._confirms = confirms

    async def results(self, seconds: float = math.inf) -> list[PublishResult]:
        """Wait for the broker's word on each; `OPEN` stands for what it has not said after so many seconds.

        It may be asked again for the rest.
        """
        results = await self._confirms.wait(seconds)
        if RETURNED in results and (otherwise := self._otherwise(results)):
            for place, message in otherwise.items():
                self._messages[place] = message
                self._confirms.reopen(place)
            await self._publisher.send_again(otherwise, self._confirms)
            results = await self._confirms.wait(seconds)
            for place, message in otherwise.items():
                if results[place].status in PASSED:
                    self._publisher.rights.note_passed(message.exchange, message.routing_key)
        return list(results)

    def abandon(self, places: Collection[int]) -> None:
        """Take it that nobody asks for the results of these any more."""
        self._publisher.forget(self._confirms, places)

    def _otherwise(self, results: Sequence[PublishResult]) -> dict[int, Message]:
        """What an address may mean where there is no queue of its name."""
        found = dict[int, Message]()
        for place, (message, result) in enumerate(zip(self._messages, results, strict=True)):
            if result is RETURNED and message is not None and message.otherwise is not None:
                exchange, key = message.otherwise
                found[place] = Message(message.body, message.properties, key, exchange, message.mandatory)
        return found
