"""Publishing with confirms on one channel, each message told its fate; asyncio-flavoured."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from enum import Enum, auto

from aiormq import Channel
from aiormq.exceptions import (
    ChannelClosed,
    ChannelNotFoundEntity,
    ConnectionClosed,
    DeliveryError,
    PublishError,
)

from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Link
from rpcb_trio._transports._amqp._parcel import Parcel

_log = logging.getLogger(__name__)


class Fate(Enum):
    """What became of one reply."""

    NOBODY = auto()
    """There was nobody to send it to."""
    CONFIRMED = auto()
    RETURNED = auto()
    """No queue is where it was sent."""
    REFUSED = auto()
    """The broker will not take it, or it can't be put into AMQP (a header of a type that AMQP lacks, say)."""
    NACKED = auto()
    """The broker would not take it now; a full queue may have room later."""
    LOST = auto()
    """The connection ended before the broker said anything about it."""
    BLAMED = auto()
    """The broker closed channel or connection over a fault in what it was sent; perhaps this."""


class Sender:
    """A channel to publish on, and the connection that it is on."""

    def __init__(self, link: Link, channel: Channel) -> None:
        self.link = link
        self._channel = channel
        self._exchanges = {""}

    @classmethod
    async def open(cls, link: Link) -> Sender:
        """Open a channel on a connection."""
        return cls(link, await link.channel(confirms=True))

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self.link.is_open and not self._channel.is_closed

    async def send_all(self, parcels: Sequence[Parcel | None]) -> list[Fate]:
        """Publish them all at once and wait for the broker's word on each."""
        return await asyncio.gather(*map(self.send, parcels))

    async def send(self, parcel: Parcel | None) -> Fate:
        """Publish one and wait for the broker's word on it."""
        if parcel is None:
            return Fate.NOBODY
        try:
            return await self._send(parcel)
        except DeliveryError:
            return Fate.NACKED
        except asyncio.CancelledError as exc:
            # aiormq raises it for a closed connection too; only a task that was asked to cancel has to.
            if _asked_to_cancel():
                raise
            return _ended_by(exc)
        except Exception as exc:  # noqa: BLE001 - a closing channel rejects with whatever closed it
            if not self.is_open or _is_verdict(exc):
                return _ended_by(exc)
            _log.warning("a reply can't be put into AMQP: %s", describe(exc))
            return Fate.REFUSED

    async def _send(self, parcel: Parcel) -> Fate:
        """Try the address, and what it may mean otherwise where there is no such queue."""
        if await self._publish(parcel, parcel.exchange, parcel.routing_key):
            return Fate.CONFIRMED
        if parcel.otherwise is not None and await self._knows(parcel.otherwise[0]):
            return Fate.CONFIRMED if await self._publish(parcel, *parcel.otherwise) else Fate.RETURNED
        return Fate.RETURNED

    async def _publish(self, parcel: Parcel, exchange: str, routing_key: str) -> bool:
        """Whether it reached a queue."""
        try:
            await self._channel.basic_publish(
                parcel.body,
                exchange=exchange,
                routing_key=routing_key,
                properties=parcel.properties,
                mandatory=parcel.mandatory,
                wait=False,  # not for the socket to drain; for the confirm it waits anyway
            )
        except PublishError:
            return False
        return True

    async def _knows(self, exchange: str) -> bool:
        """To publish to a missing exchange would close the channel under the other replies."""
        if exchange not in self._exchanges and await exchange_exists(self.link, exchange):
            self._exchanges.add(exchange)
        return exchange in self._exchanges


async def exchange_exists(link: Link, exchange: str) -> bool:
    """Ask the broker on a channel of its own, since a no closes the channel."""
    channel = await link.channel()
    try:
        await channel.exchange_declare(exchange, passive=True)
    except (ChannelNotFoundEntity, ValueError):  # pamqp refuses names that no exchange can have
        return False
    finally:
        if not channel.is_closed:
            await channel.close()
    return True


def _ended_by(exc: BaseException) -> Fate:
    return Fate.BLAMED if _is_verdict(exc) else Fate.LOST


def _is_verdict(exc: BaseException) -> bool:
    """Whether the broker itself ended it and named a fault; its own shutdown and a broken wire are none."""
    if isinstance(exc, ConnectionClosed):
        return type(exc) is not ConnectionClosed  # aiormq has a class of its own for each fault
    if isinstance(exc, ChannelClosed):
        return True
    return any(_is_verdict(arg) for arg in exc.args if isinstance(arg, BaseException))


def _asked_to_cancel() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
