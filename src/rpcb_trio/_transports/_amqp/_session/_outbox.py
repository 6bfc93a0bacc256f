"""The publishing connection. It may die and be rebuilt while the session lives on.

Whose condition a refusal is, `_closing` says. What is the worker's or the broker's own ends the session.

A reply to a forged address makes RabbitMQ close the whole connection, and all replies that were on their
way are in doubt with it. So each of them is sent again, alone: the one over which the broker closes its
connection again is the culprit. A connection that breaks without a word from the broker convicts no reply. A
reply that the broker had taken before is thereby sent twice; its caller drops the second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import NoReturn

import trio

from rpcb_trio._backoff import Backoff
from rpcb_trio._transports._amqp._data._closing import ChannelRefused
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._publications import OPEN, Publication, PublishResult, PublishStatus
from rpcb_trio._transports._amqp._limits import learned_limit
from rpcb_trio._transports._amqp._session._blockage import Blockage
from rpcb_trio._transports._amqp._session._outbox_channel import OutboxChannel
from rpcb_trio._transports._amqp._session._rights import Rights, try_to_publish
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio.errors import BrokerError, SessionLost

IN_DOUBT = frozenset({PublishStatus.LOST, PublishStatus.BLAMED})
"""Results of messages whose connection or channel ended: each may have arrived, and each may be the cause."""

RETRIED = frozenset({PublishStatus.LOST, PublishStatus.NACKED})
"""What another attempt may change, also where a message was sent alone."""

UNDECIDED = IN_DOUBT | RETRIED

RETRIES, FIRST_RETRY, LAST_RETRY = 4, 0.2, 1.0
"""How often a message is sent again, and the longest waits before that, in seconds (see `Backoff`)."""

DIALS, FIRST_DIAL, LAST_DIAL = 5, 0.5, 2.0
"""Likewise for the connection; if none of the attempts succeeds, the session ends."""

ALONE_SECONDS = 2.0
"""How long the broker may take to confirm a message that is sent again, while others wait behind it."""


class Outbox:
    def __init__(
        self, end: SessionEnd, dial: Callable[[], Awaitable[Connection]], blockage: Blockage, rights: Rights
    ) -> None:
        self._end = end
        self._dial = dial
        self._blockage = blockage
        self._rights = rights
        self._replies: OutboxChannel | None = None
        self._side: OutboxChannel | None = None
        self._opening = trio.Lock()
        self._opening_side = trio.Lock()

    @property
    def channel(self) -> OutboxChannel | None:
        """The channel for replies, if it is open."""
        return self._replies if self._replies is not None and self._replies.is_open else None

    async def open(self) -> OutboxChannel:
        """The channel for replies, on a new connection where the old one has died.

        Raises:
            SessionLost: it can't be rebuilt.
        """
        async with self._opening:
            channel = self.channel
            if channel is None:
                await self._close_replies()
                self._replies = channel = await self._connect()
            return channel

    async def open_side(self) -> OutboxChannel:
        """The channel for dead letters, on a connection of its own: no reply puts it in doubt.

        Where the broker lets in no further connection, it is on that of the replies.

        Raises:
            SessionLost: neither connection can be had.
        """
        async with self._opening_side:
            if self._side is None or not self._side.is_open:
                await self._close_side()
                try:
                    self._side = await self._connect_once()
                except BrokerError:
                    connection = (await self.open()).connection
                    self._side = await OutboxChannel.open(connection, self._rights)
            return self._side

    async def close(self) -> None:
        await self._close_side()
        await self._close_replies()

    async def results(
        self, channel: OutboxChannel, publications: Sequence[Publication], seconds: float
    ) -> None:
        """Wait for the broker's word on each, so many seconds of those in which it takes any."""
        while True:
            await channel.results(publications, seconds)
            if not self._blockage.is_alarm or all(each.result is not OPEN for each in publications):
                return
            await self._blockage.alarm_is_over()

    async def retry(self, publications: Sequence[Publication]) -> None:
        """Send again, one by one, what may have closed the connection and what the broker would not take.

        What is `LOST` in the end met only connections that broke by themselves; what is `BLAMED` was sent
        alone, while the broker took others.

        Raises:
            SessionLost: there is no connection to be had to send on, or it is the worker that may not.
        """
        left, backoff = list(publications), Backoff(FIRST_RETRY, LAST_RETRY)
        own: OutboxChannel | None = None
        try:
            for attempt in range(RETRIES):
                self._check_rights(publications)
                if attempt:
                    await backoff.wait()
                # Those in doubt need a connection of their own, where no other batch's reply falls into it.
                if own is None and any(each.result.status in IN_DOUBT for each in left):
                    own = await self._connect()
                for each in left:
                    if own is None:
                        await self._send_on_shared(each)
                    else:
                        own = await self._send_alone(each, own)
                self._check_rights(publications)
                left = [each for each in left if each.result.status in RETRIED]
                if not left:
                    return
        finally:
            if own is not None:
                await own.connection.aclose()

    def end_session(self, reason: str) -> NoReturn:
        """End the session, for it is the worker or the broker that is in no condition to send.

        Raises:
            SessionLost: always.
        """
        self._end.report(reason)
        raise SessionLost(self._end.reason)

    def end_session_if_lost(self, publications: Iterable[Publication]) -> None:
        """End the session if any of these is lost: there is no sending on its connections.

        Raises:
            SessionLost: one is.
        """
        for each in publications:
            if each.result.status is PublishStatus.LOST:
                self.end_session(f"the connection for replies breaks again and again: {each.result.why}")

    async def _send_on_shared(self, publication: Publication) -> None:
        await self._send_one(publication, await self.open())
        if publication.result.status is PublishStatus.BLAMED:  # perhaps another's fault
            publication.result = PublishResult(PublishStatus.LOST, publication.result.why)

    async def _send_alone(self, publication: Publication, own: OutboxChannel) -> OutboxChannel:
        """Send a message where no other is on its way; returns the channel for the next one."""
        if not own.is_open:
            own = await self._reopen(own)
        await self._send_one(publication, own)
        result = publication.result
        if result.status is PublishStatus.BLAMED and learned_limit(result.why):
            publication.result = PublishResult(PublishStatus.UNSENDABLE, result.why)
        elif result.is_poison:
            own = await self._reopen(own)
            if not await self._takes_others(own):  # it closes the connection over each, and convicts none
                publication.result = PublishResult(PublishStatus.LOST, result.why)
        return own

    async def _send_one(self, publication: Publication, channel: OutboxChannel) -> None:
        try:
            await channel.send([publication])
            await self.results(channel, [publication], ALONE_SECONDS)
        except SessionLost as lost:
            publication.finish(PublishResult(PublishStatus.LOST, str(lost)))
        if publication.result is OPEN:
            publication.give_up()

    @staticmethod
    async def _takes_others(channel: OutboxChannel) -> bool:
        try:
            await try_to_publish(channel.connection, "")
        except (BrokerError, ChannelRefused):
            return False
        return True

    def _check_rights(self, publications: Iterable[Publication]) -> None:
        for each in publications:
            if each.result.status is PublishStatus.BLAMED and (
                lacking := self._rights.lacks(each.result.why)
            ):
                self.end_session(lacking)

    async def _reopen(self, channel: OutboxChannel) -> OutboxChannel:
        """A channel for one that was closed, on the same connection if that is open."""
        if channel.connection.is_open:
            with suppress(SessionLost):  # it has closed just now
                return await OutboxChannel.open(channel.connection, self._rights)
        await channel.connection.aclose()
        return await self._connect()

    async def _connect(self) -> OutboxChannel:
        """Connect, with a few attempts; the session ends if none of them succeeds."""
        backoff = Backoff(FIRST_DIAL, LAST_DIAL)
        for left in reversed(range(DIALS)):
            if self._end.reason is not None:
                raise SessionLost(self._end.reason)
            try:
                return await self._connect_once()
            except BrokerError as exc:
                reason = str(exc)
            if left:
                await backoff.wait()
        return self.end_session(f"the connection for replies can't be rebuilt: {reason}")

    async def _connect_once(self) -> OutboxChannel:
        connection = await self._dial()
        try:
            return await OutboxChannel.open(connection, self._rights)
        except BaseException:
            await connection.aclose()
            raise

    async def _close_replies(self) -> None:
        if self._replies is not None:
            await self._replies.connection.aclose()

    async def _close_side(self) -> None:
        side, self._side = self._side, None
        if side is not None and (self._replies is None or side.connection is not self._replies.connection):
            await side.connection.aclose()
