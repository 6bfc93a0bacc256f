"""A worker's session: deliveries come in on one connection, replies go out on another.

Two, because a broker short of memory or disk stops reading from connections that publish; an ack behind a
reply would be stuck with it, and the delivery would time out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

import trio
from aiormq import Channel
from aiormq.abc import DeliveredMessage

from rpcb_trio._errors import SessionLost
from rpcb_trio._messages import NO_HEADERS, Answer, Request, Settled
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._connection import Link
from rpcb_trio._transports._amqp._ledger import Ledger
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._outbox import Outbox
from rpcb_trio._transports._amqp._parcel import PERSISTENT, Parcel, pack
from rpcb_trio._transports._amqp._sender import Fate, Sender
from rpcb_trio._transports._amqp._topology import told_by_topology
from rpcb_trio._transports._amqp._unreadable import Unreadable
from rpcb_trio._transports._deadline import read_deadline
from rpcb_trio._transports._protocol import Topology

_log = logging.getLogger(__name__)

SETTLED = {
    Fate.NOBODY: Settled.NO_REPLY_TO,
    Fate.CONFIRMED: Settled.REPLIED,
    Fate.RETURNED: Settled.UNROUTABLE,
    Fate.REFUSED: Settled.REJECTED,
}


class AmqpSession:
    """Implements `Session`."""

    def __init__(self, loop: AioLoop, loss: Loss, blockage: Blockage, outbox: Outbox, prefetch: int) -> None:
        self._loop = loop
        self._loss = loss
        self._blockage = blockage
        self._outbox = outbox
        self._prefetch = prefetch
        # The broker keeps no more than `prefetch` unacked, so there is always room.
        self._deliver, self._requests = trio.open_memory_channel[Request](prefetch)
        self._ledger = Ledger()
        self._channel: Channel
        self._consumer_tag: str | None = None
        self._acking = asyncio.Lock()

    @property
    def requests(self) -> trio.MemoryReceiveChannel[Request]:
        """The deliveries (see `Session`)."""
        return self._requests

    @property
    def blockages(self) -> trio.MemoryReceiveChannel[str | None]:
        """Whether replies are taken (see `Session`)."""
        return self._blockage.changes

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        """Reply and ack (see `Session`)."""
        self._refuse_strangers(answers)
        sender = self._outbox.sender or await self._outbox.open()
        parcels = [pack(answer) for answer in answers]
        fates = await self._loop.call(self._send_and_finish, sender, answers, parcels)
        undecided = [n for n, fate in enumerate(fates) if fate not in SETTLED]
        if undecided:
            again = await self._outbox.insist([parcels[n] for n in undecided])
            await self._loop.call(self._finish, [answers[n] for n in undecided], again)
            if Fate.LOST in again:
                self._loss.report("the connection for replies breaks again and again")
                raise SessionLost(self._loss.reason)
            for n, fate in zip(undecided, again, strict=True):
                fates[n] = fate
        return [_ending(answer, fate) for answer, fate in zip(answers, fates, strict=True)]

    async def stop_consuming(self) -> None:
        """Let no more come (see `Session`)."""
        tag, self._consumer_tag = self._consumer_tag, None
        if tag is None:
            return
        # The broker's answer comes behind the deliveries that were on their way.
        await self._loop.call(self._channel.basic_cancel, tag)
        self._deliver.close()

    async def watch(self) -> NoReturn:
        """Wait for the end (see `Session`)."""
        await self._loss.watch()

    async def consume(self, link: Link, topology: Topology) -> None:
        """Have the requests delivered; asyncio-flavoured."""
        self._channel = await link.channel()
        self._channel.closing.add_done_callback(link.told(self._loss.report))
        self._channel.on_consumer_cancel_callbacks.add(
            lambda _: self._loss.report(
                f"the broker ended the consumer: was queue {topology.queue!r} deleted?"
            )
        )
        with told_by_topology(f"queue {topology.queue!r}"):
            await self._channel.basic_qos(prefetch_count=self._prefetch)
            consuming = await self._channel.basic_consume(topology.queue, self._receive)
        self._consumer_tag = consuming.consumer_tag

    def close(self) -> None:
        """End `requests` and `blockages`."""
        self._deliver.close()
        self._blockage.close()

    async def _receive(self, message: DeliveredMessage) -> None:
        """Pass a delivery on. Awaits nothing, so deliveries keep their order and cost no switch."""
        if isinstance(message.header.properties, Unreadable):
            await self._reject_unreadable(message.delivery_tag or 0)
            return
        request = to_request(message)
        self._ledger.enter(request)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it is redelivered elsewhere
            self._deliver.send_nowait(request)

    async def _reject_unreadable(self, tag: int) -> None:
        _log.warning("a request whose properties are not valid AMQP was rejected")
        async with self._acking:
            await self._channel.basic_reject(tag, requeue=False, wait=False)

    def _refuse_strangers(self, answers: Sequence[Answer]) -> None:
        """Tags are void after their session; what a lost session held is computed again elsewhere."""
        if self._loss.reason is not None:
            raise SessionLost(self._loss.reason)
        if not all(self._ledger.holds(answer.request) for answer in answers):
            raise SessionLost("a request of an earlier session, or one that is settled, can't be settled")

    async def _send_and_finish(
        self, sender: Sender, answers: Sequence[Answer], parcels: Sequence[Parcel | None]
    ) -> list[Fate]:
        fates = await sender.send_all(parcels)
        await self._finish(answers, fates)
        return fates

    async def _finish(self, answers: Sequence[Answer], fates: Sequence[Fate]) -> None:
        """Reject what can't be replied to, ack what is; wait until the broker is sure to hear of it.

        The lock keeps the frames in the ledger's order: a `multiple` that overtakes another batch's ack would
        have acked the same tags before it, and the broker closes the channel for a tag that is acked twice.
        """
        tags = [answer.request.tag for answer in answers]
        refused = {tag for tag, fate in zip(tags, fates, strict=True) if fate is Fate.REFUSED}
        replied = {tag for tag, fate in zip(tags, fates, strict=True) if fate in SETTLED} - refused
        async with self._acking:
            self._ledger.strike(refused)
            steps = [partial(self._channel.basic_reject, tag, requeue=False) for tag in refused]
            steps += [
                partial(self._channel.basic_ack, tag, multiple=multiple)
                for tag, multiple in self._ledger.strike(replied)
            ]
            for left, step in zip(range(len(steps) - 1, -1, -1), steps, strict=True):
                # aiormq does not send what it still queues when a connection closes, so await the last one.
                await step(wait=left == 0)


def _ending(answer: Answer, fate: Fate) -> Settled:
    return Settled.DROPPED if answer.reply is None else SETTLED[fate]


def to_request(message: DeliveredMessage) -> Request:
    """Read a delivery."""
    properties = message.header.properties
    headers = properties.headers or NO_HEADERS
    arrived = trio.current_time()
    return Request(
        body=message.body,
        arrived=arrived,
        reply_to=properties.reply_to or None,
        correlation_id=properties.correlation_id,
        deadline=read_deadline(
            arrived,
            time.time(),
            lifetime=_seconds(properties.expiration),
            sent=properties.timestamp,
            headers=headers,
        ),
        redelivered=bool(message.redelivered),
        priority=properties.priority or 0,
        persistent=properties.delivery_mode == PERSISTENT,
        headers=headers,
        tag=message.delivery_tag or 0,
    )


def _seconds(expiration: str | None) -> float | None:
    """Expirations are milliseconds, written out."""
    if not expiration or not expiration.isascii() or not expiration.isdecimal():
        return None
    return int(expiration) / 1000
