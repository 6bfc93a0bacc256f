"""Publishing to addresses that may lead nowhere, without harm to what is published beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio

from rpcb_trio._transports._amqp._data._closing import NOT_FOUND, ChannelRefused
from rpcb_trio._transports._amqp._data._connection import ASK_SECONDS, Connection
from rpcb_trio._transports._amqp._data._publications import (
    RETURNED,
    Publication,
    PublishChannel,
    PublishResult,
    PublishStatus,
    wait_for_results,
)
from rpcb_trio._transports._amqp._session._rights import Rights
from rpcb_trio.errors import SessionLost

PASSED = frozenset({PublishStatus.CONFIRMED, PublishStatus.RETURNED})
"""Results of a message that its exchange took, whether or not a queue is bound there."""

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

        Several that ask at the same time share one question to the broker.
        """
        if name in self._there:
            return None
        async with self._asking:
            now = anyio.current_time()
            self._not_there = {each: known for each, known in self._not_there.items() if known[0] > now}
            if name in self._there or name in self._not_there:
                return self._not_there[name][1] if name in self._not_there else None
            found = await self._look_for(name)
            if found is None:
                self._there.add(name)
            else:
                self._not_there[name] = now + ABSENT_SECONDS, found
        return found

    async def _look_for(self, name: str) -> PublishResult | None:
        async with self._connection.throwaway_channel(ASK_SECONDS) as channel:
            try:
                await channel.declare_exchange(name, passive=True)
            except ChannelRefused as exc:
                if exc.code != NOT_FOUND:  # from RabbitMQ 4.3 on, a user without a right may not look either
                    return PublishResult(PublishStatus.BLAMED, str(exc))
            except ValueError:  # there are names that no exchange can have
                pass
            else:
                return None
        return PublishResult(PublishStatus.RETURNED, f"there is no exchange {name!r}")


class OutboxChannel:
    """A channel to publish on, and what is known of the exchanges that its connection reaches."""

    def __init__(self, channel: PublishChannel, rights: Rights) -> None:
        self.connection = channel.connection
        self._channel = channel
        self._rights = rights
        self._exchanges = Exchanges(self.connection)

    @classmethod
    async def open(cls, connection: Connection, rights: Rights) -> OutboxChannel:
        """Open a channel on a connection."""
        return cls(await connection.data_channel(PublishChannel, confirms=True), rights)

    @property
    def is_open(self) -> bool:
        return self._channel.is_open

    async def send(self, publications: Sequence[Publication]) -> None:
        """Publish all in one write, but for what goes to an exchange that is not there."""
        refusals = dict[str, PublishResult]()
        for exchange in {each.exchange for each in publications}:
            if exchange not in self._exchanges:
                refusal = await self._exchanges.refusal(exchange)
                if refusal is not None:
                    refusals[exchange] = refusal
        for each in publications:
            if each.exchange in refusals:
                each.finish(refusals[each.exchange])
            elif each.result.status is not PublishStatus.NOT_SENT:
                self._channel.write(each)
        self.connection.wire.flush()

    async def results(self, publications: Sequence[Publication], seconds: float = math.inf) -> None:
        """Wait for what becomes of each, so many seconds; what comes back is sent where else it may go."""
        await wait_for_results(publications, seconds)
        returned = [each for each in publications if each.result is RETURNED and each.otherwise]
        if returned:
            for each in returned:
                await self._send_otherwise(each)
            self.connection.wire.flush()
            await wait_for_results(returned, seconds)
            for each in returned:
                if each.result.status in PASSED:
                    self._rights.note_passed(each.exchange, each.routing_key)

    async def _send_otherwise(self, publication: Publication) -> None:
        assert publication.otherwise is not None  # noqa: S101 - for the type checker
        publication.exchange, publication.routing_key = publication.otherwise
        publication.otherwise = None
        try:
            refusal = await self._exchanges.refusal(publication.exchange)
        except SessionLost as lost:  # the others' results are known, and must not be lost with this one
            refusal = PublishResult(PublishStatus.LOST, str(lost))
        if refusal is None:
            self._channel.write(publication)
        else:
            publication.finish(refusal)
