"""The publishing connection. It may die and be rebuilt while the session lives on.

Whose condition a refusal is, `_refusals` says. What is the worker's or the broker's own ends the session.

A reply to a forged address makes RabbitMQ close the whole connection, and all replies that were on their
way are in doubt with it. So each of them is sent again, alone: the one over which the broker closes its
connection again is the culprit. A connection that breaks without a word from the broker convicts nobody. A
reply that the broker had taken before is thereby sent twice; its caller drops the second.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import trio
from aiormq.exceptions import ChannelClosed

from rpcb_trio._errors import BrokerError, SessionLost
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._data import OPEN, Message, PublishResult, PublishStatus
from rpcb_trio._transports._amqp._limits import is_too_big
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._publishing import Publisher, Sending
from rpcb_trio._transports._amqp._rights import Rights, try_to_publish

RETRY_WAITS = (0.0, 0.05, 0.2, 0.5)
"""Seconds to wait before each time that a reply is offered again; then it is given up."""

IN_DOUBT = frozenset({PublishStatus.LOST, PublishStatus.BLAMED})
"""What is said of those whose connection or channel ended: each may have been sent or not, guilty or not."""

OPEN_QUESTIONS = frozenset({PublishStatus.LOST, PublishStatus.NACKED})
"""What another attempt may change."""

ALONE_SECONDS = 2.0
"""How long the broker may take to confirm a reply that is offered again, while others wait behind it."""

UNCONFIRMED = PublishResult(PublishStatus.UNCONFIRMED, "the broker does not confirm it")

DIAL_WAITS = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Seconds to wait before each attempt to rebuild the connection; then the session is given up."""


class Outbox:
    """Sends replies."""

    def __init__(
        self, loss: Loss, dial: Callable[[], Awaitable[Connection]], blockage: Blockage, rights: Rights
    ) -> None:
        self._loss = loss
        self._dial = dial
        self._blockage = blockage
        self._rights = rights
        self._publisher: Publisher | None = None
        self._side: Publisher | None = None
        self._opening = trio.Lock()
        self._opening_side = trio.Lock()

    @property
    def publisher(self) -> Publisher | None:
        """The channel to publish on, if it is open."""
        return self._publisher if self._publisher is not None and self._publisher.is_open else None

    async def open(self) -> Publisher:
        """The channel to publish on, on a new connection where the old one has died.

        Raises:
            SessionLost: it can't be rebuilt.
        """
        async with self._opening:
            publisher = self.publisher
            if publisher is None:
                await self._close_publisher()
                self._publisher = publisher = await self._connect()
            return publisher

    async def close(self) -> None:
        """Close the connections, in bounded time."""
        await self._close_side()
        await self._close_publisher()

    async def _close_publisher(self) -> None:
        if self._publisher is not None:
            await self._publisher.connection.close()

    async def side_channel(self) -> Publisher:
        """A channel for dead letters, on a connection of its own: no reply puts it in doubt.

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
                    self._side = await Publisher.open(connection, self._rights)
            return self._side

    async def _close_side(self) -> None:
        side, self._side = self._side, None
        if side is not None and (
            self._publisher is None or side.connection is not self._publisher.connection
        ):
            await side.connection.close()

    async def results(self, sending: Sending, seconds: float) -> list[PublishResult]:
        """Wait for the broker's word, so many seconds of those in which it takes any."""
        while True:
            results = await sending.results(seconds)
            if OPEN not in results or not self._blockage.is_alarm:
                return results
            await self._blockage.alarm_is_over()

    async def insist(
        self, messages: Sequence[Message | None], results: Sequence[PublishResult]
    ) -> list[PublishResult]:
        """Send again, one by one, what may have closed the connection and what the broker would not take.

        What is `LOST` in the end met only connections that broke by themselves; what is `BLAMED` stood alone,
        while the broker took others.

        Raises:
            SessionLost: there is no connection to be had to send on, or it is the worker that may not.
        """
        found = list(results)
        pending = list(range(len(found)))
        own: Publisher | None = None
        try:
            for wait in RETRY_WAITS:
                self._check_rights(found)
                await trio.sleep(jittered(wait))
                # Those in doubt need a connection of their own, where no other batch's reply falls into it.
                if own is None and any(found[n].status in IN_DOUBT for n in pending):
                    own = await self._connect()
                for n in pending:
                    publisher = own or await self.open()
                    if own is not None and not own.is_open:
                        publisher = own = await self._reopen(own)
                    found[n] = _alone(await self._offer(messages[n], publisher), is_alone=publisher is own)
                    if own is not None and found[n].is_poison:
                        own = await self._reopen(own)
                        found[n] = await _unless_all_are_refused(found[n], own)
                self._check_rights(found)
                pending = [n for n in pending if found[n].status in OPEN_QUESTIONS]
                if not pending:
                    break
        finally:
            if own is not None:
                await own.connection.close()
        return found

    async def _offer(self, message: Message | None, publisher: Publisher) -> PublishResult:
        try:
            sending = await publisher.send([message])
            [result] = await self.results(sending, ALONE_SECONDS)
        except SessionLost as lost:
            return PublishResult(PublishStatus.LOST, str(lost))
        return UNCONFIRMED if result is OPEN else result

    def refuse(self, reason: str) -> NoReturn:
        """End the session, for it is the worker or the broker that is in no condition to send.

        Raises:
            SessionLost: always.
        """
        self._loss.report(reason)
        raise SessionLost(self._loss.reason)

    def _check_rights(self, results: Sequence[PublishResult]) -> None:
        for result in results:
            if result.status is PublishStatus.BLAMED and (lacking := self._rights.lacks(result.why)):
                self.refuse(lacking)

    def give_up(self, results: Sequence[PublishResult]) -> None:
        """End the session if any of these is lost: there is no sending on its connections.

        Raises:
            SessionLost: one is.
        """
        for result in results:
            if result.status is PublishStatus.LOST:
                self.refuse(f"the connection for replies breaks again and again: {result.why}")

    async def _reopen(self, publisher: Publisher) -> Publisher:
        """A channel for one that was closed, on the same connection if that is open."""
        if publisher.connection.is_open:
            with suppress(SessionLost):  # it has closed just now
                return await Publisher.open(publisher.connection, self._rights)
        await publisher.connection.close()
        return await self._connect()

    async def _connect(self) -> Publisher:
        """Connect, with a few attempts; the session ends if none of them succeeds."""
        reason = ""
        for wait in DIAL_WAITS:
            await trio.sleep(jittered(wait))
            if self._loss.reason is not None:
                raise SessionLost(self._loss.reason)
            try:
                return await self._connect_once()
            except BrokerError as exc:
                reason = str(exc)
        self._loss.report(f"the connection for replies can't be rebuilt: {reason}")
        raise SessionLost(self._loss.reason)

    async def _connect_once(self) -> Publisher:
        connection = await self._dial()
        try:
            return await Publisher.open(connection, self._rights)
        except BaseException:
            await connection.close()
            raise


async def _unless_all_are_refused(result: PublishResult, publisher: Publisher) -> PublishResult:
    """A broker in no condition to take any message closes the connection over each; then it convicts none."""
    try:
        await try_to_publish(publisher.connection, "")
    except (BrokerError, ChannelClosed):
        return PublishResult(PublishStatus.LOST, result.why)
    return result


def _alone(result: PublishResult, *, is_alone: bool) -> PublishResult:
    """What a message's own result is, where others may have been on the same channel, or none."""
    if result.status is not PublishStatus.BLAMED:
        return result
    if not is_alone:  # perhaps another's fault
        return PublishResult(PublishStatus.LOST, result.why)
    return PublishResult(PublishStatus.UNSENDABLE, result.why) if is_too_big(result.why) else result


def jittered(seconds: float) -> float:
    """Between half of it and all of it, so that many workers do not act in step."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
