"""A worker's session: deliveries come in on one connection, replies go out on another.

Two, because a broker short of memory or disk stops reading from connections that publish; an ack behind a
reply would be stuck with it, and the delivery would time out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn, cast

import trio
from aiormq import Channel
from aiormq.abc import DeliveredMessage

from rpcb_trio._errors import RequesterGone, SessionLost
from rpcb_trio._messages import Answer, Request, Settled, shown_address
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._connection import Link
from rpcb_trio._transports._amqp._dead_letters import DeadLetters
from rpcb_trio._transports._amqp._delivered import Delivered, to_request
from rpcb_trio._transports._amqp._limits import learned_limit
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._open_deliveries import OpenDeliveries
from rpcb_trio._transports._amqp._outbox import Outbox
from rpcb_trio._transports._amqp._parcel import Parcel, pack
from rpcb_trio._transports._amqp._requesters import Requesters
from rpcb_trio._transports._amqp._sender import Fate, Sender, Verdict
from rpcb_trio._transports._amqp._topology import told_by_topology
from rpcb_trio._transports._amqp._unreadable import Unreadable
from rpcb_trio._transports._protocol import Topology

_log = logging.getLogger(__name__)

ACKED = {
    Fate.NOBODY: Settled.NO_REPLY_TO,
    Fate.CONFIRMED: Settled.REPLIED,
    Fate.RETURNED: Settled.UNROUTABLE,
}
UNDECIDED = frozenset({Fate.LOST, Fate.BLAMED, Fate.NACKED})
"""The fates of replies that are worth another attempt."""
TURNED_AWAY = frozenset({Settled.REJECTED, Settled.REQUEUED})


class AmqpSession:
    """Implements `Session`."""

    def __init__(
        self,
        loop: AioLoop,
        loss: Loss,
        outbox: Outbox,
        blockage: Blockage,
        requesters: Requesters,
        *,
        topology: Topology,
        prefetch: int,
    ) -> None:
        self._loop = loop
        self._loss = loss
        self._blockage = blockage
        self._requesters = requesters
        self._outbox = outbox
        self._dead_letters = DeadLetters(loop, outbox, topology)
        self._topology = topology
        self._prefetch = prefetch
        # The broker keeps no more than `prefetch` unacked, so there is always room.
        self._deliver, self._requests = trio.open_memory_channel[Request](prefetch)
        self._open = OpenDeliveries()
        self._channel: Channel
        self._consumer_tag: str | None = None
        self._acking = asyncio.Lock()
        self.max_reply_size: int | None = None

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
        verdicts = await self._loop.call(self._send_and_ack, sender, answers, parcels)
        undecided = [n for n, verdict in enumerate(verdicts) if verdict.fate in UNDECIDED]
        if undecided:
            again = await self._insist([(answers[n], parcels[n], verdicts[n]) for n in undecided])
            for n, verdict in zip(undecided, again, strict=True):
                verdicts[n] = verdict
        settled = [self._ending(answer, verdict) for answer, verdict in zip(answers, verdicts, strict=True)]
        if not TURNED_AWAY.isdisjoint(settled):
            await self._turn_away(answers, verdicts, settled)
        return settled

    async def has_requester(self, reply_to: str) -> bool:
        """Whether somebody may be there (see `Session`)."""
        return await self._requesters.has(reply_to)

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

    async def consume(self, link: Link) -> None:
        """Have the requests delivered; asyncio-flavoured."""
        queue = self._topology.queue
        self._channel = await link.channel()
        self._channel.closing.add_done_callback(link.told(self._loss.report))
        self._channel.on_consumer_cancel_callbacks.add(
            lambda _: self._loss.report(
                f"the broker ended the consumer: was queue {queue!r} deleted, or a request held for longer "
                "than its consumer_timeout? then lower prefetch, or raise that"
            )
        )
        with told_by_topology(f"queue {queue!r}"):
            await self._channel.basic_qos(prefetch_count=self._prefetch)
            consuming = await self._channel.basic_consume(queue, self._receive)
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
        self._open.enter(request)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it is redelivered elsewhere
            self._deliver.send_nowait(request)

    async def _reject_unreadable(self, tag: int) -> None:
        """Leave it to the broker, who alone can dead-letter it as it was."""
        _log.warning(
            "queue %s: a request was rejected, for the broker to dead-letter or to drop: its properties are "
            "not valid AMQP",
            self._topology.queue,
        )
        async with self._acking:
            await self._channel.basic_reject(tag, requeue=False, wait=False)

    def _refuse_strangers(self, answers: Sequence[Answer]) -> None:
        """Tags are void after their session; what a lost session held is computed again elsewhere."""
        if self._loss.reason is not None:
            raise SessionLost(self._loss.reason)
        if not all(self._open.holds(answer.request) for answer in answers):
            raise SessionLost("a request of an earlier session, or one that is settled, can't be settled")

    async def _send_and_ack(
        self, sender: Sender, answers: Sequence[Answer], parcels: Sequence[Parcel | None]
    ) -> list[Verdict]:
        verdicts = await sender.send_all(parcels)
        await self._ack(answers, verdicts)
        return verdicts

    async def _insist(self, undecided: Sequence[tuple[Answer, Parcel | None, Verdict]]) -> list[Verdict]:
        """Offer again what was not taken, and ack what then is."""
        answers, parcels, verdicts = zip(*undecided, strict=True)
        again = await self._outbox.insist(parcels, verdicts)
        await self._loop.call(self._ack, answers, again)
        if any(verdict.fate is Fate.LOST for verdict in again):
            self._outbox.give_up()
        return again

    def _ending(self, answer: Answer, verdict: Verdict) -> Settled:
        if answer.dead_letter is not None:
            return Settled.REJECTED
        if answer.reply is None:
            return Settled.UNROUTABLE if isinstance(answer.error, RequesterGone) else Settled.DROPPED
        if verdict.fate is Fate.UNSENDABLE:
            self._learn(answer, verdict)
            return Settled.UNSENDABLE
        if verdict.fate in ACKED:
            return ACKED[verdict.fate]
        # Over a poisonous one the broker would close the connection each time that it comes back.
        goes_back = self._topology.on_refused_reply == "requeue" and not verdict.is_poison
        return Settled.REQUEUED if goes_back else Settled.REJECTED

    def _learn(self, answer: Answer, verdict: Verdict) -> None:
        self.max_reply_size = learned_limit(verdict.why) or self.max_reply_size
        self._warn(answer.request, f"gets an error for a reply, since the reply can't be sent: {verdict.why}")

    async def _turn_away(
        self, answers: Sequence[Answer], verdicts: Sequence[Verdict], settled: Sequence[Settled]
    ) -> None:
        """Give back what is to be tried again; the rest goes to the dead letters, and only then is acked."""
        back, letters = set[int](), list[tuple[Delivered, str]]()
        for answer, verdict, ending in zip(answers, verdicts, settled, strict=True):
            request = cast(Delivered, answer.request)  # this session made it
            if ending is Settled.REJECTED:
                reason = answer.dead_letter or f"the broker refused the reply: {verdict.why}"
                letters.append((request, reason))
            elif ending is Settled.REQUEUED:
                self._warn(
                    request, f"is back in its queue, since the broker refused the reply: {verdict.why}"
                )
                back.add(request.tag)
        arrived = await self._dead_letters.send(letters)
        await self._loop.call(self._finish, arrived, {request.tag for request, _ in letters} - arrived, back)

    def _warn(self, request: Request, what: str) -> None:
        _log.warning(
            "queue %s: request %r of %s %s",
            self._topology.queue,
            request.correlation_id,
            shown_address(request.reply_to),
            what,
        )

    async def _ack(self, answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> None:
        await self._finish(
            {
                answer.request.tag
                for answer, verdict in zip(answers, verdicts, strict=True)
                if verdict.fate in ACKED and answer.dead_letter is None
            }
        )

    async def _finish(
        self, acked: Collection[int], rejected: Collection[int] = (), requeued: Collection[int] = ()
    ) -> None:
        """Tell the broker which deliveries are over; wait until it is sure to hear of it.

        The lock keeps the frames in the ledger's order: a `multiple` that overtakes another batch's ack would
        have acked the same tags before it, and the broker closes the channel for a tag that is acked twice.
        """
        async with self._acking:
            for tags in (rejected, requeued):
                self._open.strike(tags)
            steps = [partial(self._channel.basic_reject, tag, requeue=False) for tag in rejected]
            steps += [partial(self._channel.basic_reject, tag, requeue=True) for tag in requeued]
            steps += [
                partial(self._channel.basic_ack, tag, multiple=multiple)
                for tag, multiple in self._open.strike(acked)
            ]
            for left, step in zip(range(len(steps) - 1, -1, -1), steps, strict=True):
                # aiormq does not send what it still queues when a connection closes, so await the last one.
                await step(wait=left == 0)
