"""Publishing with confirms on one channel, each message told its fate; asyncio-flavoured."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum, auto

import msgspec
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


class Fate(Enum):
    """What became of one message."""

    NOBODY = auto()
    """There was nobody to send it to."""
    CONFIRMED = auto()
    RETURNED = auto()
    """No queue is where it was sent."""
    UNSENDABLE = auto()
    """It is too big for the broker, or can't be put into AMQP (a header of a type that AMQP lacks, say)."""
    NACKED = auto()
    """The broker would not take it now; a full queue may have room later."""
    LOST = auto()
    """The connection ended before the broker said anything about it."""
    BLAMED = auto()
    """The broker closed channel or connection over a fault in what it was sent; perhaps this."""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one message, and why."""

    fate: Fate
    why: str = ""
    is_poison: bool = False
    """Whether the broker closed the whole connection over it, and would do so again."""


NOBODY = Verdict(Fate.NOBODY)
CONFIRMED = Verdict(Fate.CONFIRMED)
RETURNED = Verdict(Fate.RETURNED, "no queue is bound there")
NACKED = Verdict(Fate.NACKED, "the broker would not take it (nack); is its queue full?")


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

    async def send_all(self, parcels: Sequence[Parcel | None]) -> list[Verdict]:
        """Publish them all at once and wait for the broker's word on each."""
        return await asyncio.gather(*map(self.send, parcels))

    async def send(self, parcel: Parcel | None) -> Verdict:
        """Publish one and wait for the broker's word on it."""
        if parcel is None:
            return NOBODY
        try:
            return await self._send(parcel)
        except DeliveryError:
            return NACKED
        except asyncio.CancelledError as exc:
            # aiormq raises it for a closed connection too; only a task that was asked to cancel has to.
            if _asked_to_cancel():
                raise
            return self._ended_by(exc)
        except Exception as exc:  # noqa: BLE001 - a closing channel rejects with whatever closed it
            if not self.is_open or _is_fault(exc):
                return self._ended_by(exc)
            return Verdict(Fate.UNSENDABLE, f"it can't be put into AMQP: {describe(exc)}")

    async def _send(self, parcel: Parcel) -> Verdict:
        """Try the address, and what it may mean otherwise where there is no such queue."""
        if parcel.exchange and not await self._knows(parcel.exchange):
            return Verdict(Fate.RETURNED, f"there is no exchange {parcel.exchange!r}")
        if await self._publish(parcel, parcel.exchange, parcel.routing_key):
            return CONFIRMED
        if parcel.otherwise is not None and await self._knows(parcel.otherwise[0]):
            return CONFIRMED if await self._publish(parcel, *parcel.otherwise) else RETURNED
        return RETURNED

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

    def _ended_by(self, exc: BaseException) -> Verdict:
        fate = Fate.BLAMED if _is_fault(exc) else Fate.LOST
        return Verdict(fate, describe(exc), is_poison=fate is Fate.BLAMED and not self.link.is_open)


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


def _is_fault(exc: BaseException) -> bool:
    """Whether the broker itself ended it and named a fault; its own shutdown and a broken wire are none."""
    if isinstance(exc, ConnectionClosed):
        return type(exc) is not ConnectionClosed  # aiormq has a class of its own for each fault
    if isinstance(exc, ChannelClosed):
        return True
    return any(_is_fault(arg) for arg in exc.args if isinstance(arg, BaseException))


def _asked_to_cancel() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
