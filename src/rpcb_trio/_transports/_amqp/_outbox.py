"""The publishing connection. It may die and be rebuilt while the session lives on.

A reply to a forged address makes RabbitMQ close the whole connection, and all replies that were on their
way are in doubt with it. So each of them is sent again, alone: the one over which the broker closes its
connection again is the culprit. A connection that breaks without a word from the broker convicts nobody. A
reply that the broker had taken before is thereby sent twice; its requester drops the second.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence

import trio

from rpcb_trio._errors import BrokerError, SessionLost
from rpcb_trio._transports._amqp._connection import Link
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._parcel import Parcel
from rpcb_trio._transports._amqp._sender import Fate, Sender

_log = logging.getLogger(__name__)

RETRY_WAITS = (0.0, 0.05, 0.2, 0.5)
"""Seconds to wait before each time that a reply is offered again; then it is given up."""

DIAL_WAITS = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Seconds to wait before each attempt to rebuild the connection; then the session is given up."""


class Outbox:
    """Sends replies."""

    def __init__(self, loop: AioLoop, loss: Loss, dial: Callable[[], Awaitable[Link]]) -> None:
        self._loop = loop
        self._loss = loss
        self._dial = dial
        self._sender: Sender | None = None
        self._opening = trio.Lock()

    @property
    def sender(self) -> Sender | None:
        """The channel to publish on, if it is open."""
        return self._sender if self._sender is not None and self._sender.is_open else None

    async def open(self) -> Sender:
        """The channel to publish on, on a new connection where the old one has died.

        Raises:
            SessionLost: it can't be rebuilt.
        """
        async with self._opening:
            sender = self.sender
            if sender is None:
                await self.close()
                self._sender = sender = await self._connect()
            return sender

    async def close(self) -> None:
        """Close the connection, in bounded time."""
        if self._sender is not None:
            await self._sender.link.close()

    async def insist(self, parcels: Sequence[Parcel | None]) -> list[Fate]:
        """Send again, one by one, what may have closed the connection and what the broker would not take.

        What is `LOST` in the end met only connections that broke by themselves.

        Raises:
            SessionLost: there is no connection to be had to send on.
        """
        fates = [Fate.LOST] * len(parcels)
        # Not on the session's own connection, where other batches' replies would fall into doubt.
        sender = await self._connect()
        try:
            for wait in RETRY_WAITS:
                undecided = [n for n, fate in enumerate(fates) if fate in {Fate.LOST, Fate.NACKED}]
                if not undecided:
                    break
                await trio.sleep(jittered(wait))
                for n in undecided:
                    if not sender.is_open:
                        await sender.link.close()
                        sender = await self._connect()
                    fate = await self._loop.call(sender.send, parcels[n])
                    fates[n] = Fate.REFUSED if fate is Fate.BLAMED else fate  # it stood alone
        finally:
            await sender.link.close()
        return [Fate.REFUSED if fate is Fate.NACKED else fate for fate in fates]

    async def _connect(self) -> Sender:
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

    async def _connect_once(self) -> Sender:
        link = await self._dial()
        try:
            return await self._loop.call(Sender.open, link)
        except BaseException:
            await link.close()
            raise


def jittered(seconds: float) -> float:
    """Between half of it and all of it, so that many workers do not act in step."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
