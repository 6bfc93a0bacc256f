"""A worker's session: deliveries come in on one connection, replies go out on another.

Two, because a broker short of memory or disk stops reading from connections that publish; an ack behind a
reply would be stuck with it, and the delivery would time out.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn, cast

import trio

from rpcb_trio._messages import Answer, CallId, Request, Settled, shown_address
from rpcb_trio._tracing import ids_of
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._consumption import Consumption, Delivered, Reading
from rpcb_trio._transports._amqp._data._publications import CONFIRMED, OPEN, PublishResult, PublishStatus
from rpcb_trio._transports._amqp._limits import learned_limit, unset_priority
from rpcb_trio._transports._amqp._session._addressing import address
from rpcb_trio._transports._amqp._session._blockage import Blockage
from rpcb_trio._transports._amqp._session._cancellations import Cancellations
from rpcb_trio._transports._amqp._session._consumer import Consumer
from rpcb_trio._transports._amqp._session._dead_letters import DeadLetters
from rpcb_trio._transports._amqp._session._destinations import Destinations
from rpcb_trio._transports._amqp._session._direct_callers import DirectCallers
from rpcb_trio._transports._amqp._session._outbox import UNDECIDED, Outbox
from rpcb_trio._transports._amqp._session._outbox_channel import OutboxChannel
from rpcb_trio._transports._amqp._session._settlement import SLOW_SECONDS, PublishedReply, Settlement
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._amqp._topology import explaining_refusals
from rpcb_trio._transports._codec._frames import Delivery
from rpcb_trio._transports._deadline import Deadlines
from rpcb_trio._transports._protocol import QueueFacts, Rest
from rpcb_trio._transports._topology import Topology
from rpcb_trio.errors import CallerGone, SessionLost

_log = logging.getLogger(__name__)

ACKED = {
    PublishStatus.NOT_SENT: Settled.NO_REPLY_TO,
    PublishStatus.CONFIRMED: Settled.REPLIED,
    PublishStatus.RETURNED: Settled.UNROUTABLE,
}


class AmqpSession:
    """Implements `Session`."""

    def __init__(
        self,
        end: SessionEnd,
        outbox: Outbox,
        blockage: Blockage,
        callers: DirectCallers,
        *,
        topology: Topology,
        prefetch: int,
    ) -> None:
        self._end = end
        self._blockage = blockage
        self._direct_callers = callers
        self._outbox = outbox
        self._dead_letters = DeadLetters(outbox, topology)
        self._destinations = Destinations(prefetch)
        self._settlement = Settlement(
            topology.queue,
            outbox,
            self._destinations,
            blockage,
            ack=self._ack,
            keeps_trying=topology.on_refused_reply == "requeue",
        )
        self._topology = topology
        self._reading: Reading
        self._prefetch = prefetch
        # No bound of its own: the broker leaves only so many unacked.
        self._deliver, self._requests = trio.open_memory_channel[Request](math.inf)
        self._consumption: Consumption
        self._consumer: Consumer
        self._cancellations = Cancellations(end)
        self.max_reply_size: int | None = None

    @property
    def requests(self) -> trio.MemoryReceiveChannel[Request]:
        return self._requests

    @property
    def blockages(self) -> trio.MemoryReceiveChannel[str | None]:
        return self._blockage.changes

    @property
    def cancels(self) -> trio.MemoryReceiveChannel[CallId]:
        return self._cancellations.calls

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        replies, channel = await self._send(answers)
        return await self._finish(replies, channel)

    async def settle_promptly(
        self, answers: Sequence[Answer]
    ) -> tuple[Sequence[Settled | None], Rest | None]:
        replies, channel = await self._send(answers)
        if all(map(_is_replied, replies)):
            return [Settled.REPLIED] * len(answers), None
        settled = [self._ending(reply) if is_over(reply) else None for reply in replies]
        return settled, partial(self._finish, replies, channel)

    def apart(self, answers: Sequence[Answer]) -> list[Sequence[Answer]]:
        return self._destinations.apart(answers) if self._destinations.give_trouble else [answers]

    async def has_caller(self, reply_to: str) -> bool:
        return await self._direct_callers.has(reply_to)

    def room(self, settled: Iterable[Request] = ()) -> int:
        return self._consumer.room(settled)

    async def reconsume(self, *, prefetch: int, priority: int = 0) -> None:
        await self._consumer.change(prefetch, priority)

    async def backlog(self) -> QueueFacts:
        return await self._consumer.backlog()

    async def stop_consuming(self) -> None:
        if await self._consumer.stop():
            self._deliver.close()

    def requeue(self, requests: Sequence[Request]) -> None:
        self._consumer.requeue(requests)

    def requeue_all(self) -> None:
        """Requeue all that is open, whether or not code runs on it: no request ended the session."""
        self.requeue(self._consumption.deliveries.requests)

    async def watch(self) -> NoReturn:
        await self._end.watch()

    async def consume(self, connection: Connection) -> None:
        queue = self._topology.queue
        if self._topology.cancel:
            await self._cancellations.listen(connection, self._topology)
        unset = unset_priority(connection.server_properties, self._topology)
        self._reading = Reading(Deadlines(queue), unset)
        self._consumption = consumption = await connection.data_channel(Consumption)
        consumption.take, consumption.end = self._take, self._report_end
        may_pause = self._topology.declare == "active" and "x-expires" not in self._topology.arguments
        self._consumer = Consumer(queue, consumption, may_pause=may_pause)
        with explaining_refusals(f"queue {queue!r}"):
            await self._consumer.begin(self._prefetch)

    def close(self) -> None:
        self._deliver.close()
        self._blockage.close()
        self._cancellations.close()

    async def _send(self, answers: Sequence[Answer]) -> tuple[list[PublishedReply], OutboxChannel]:
        """Publish the replies, wait a while for their confirms, and ack what was taken."""
        self._refuse_foreign(answers)
        channel = self._outbox.channel or await self._outbox.open()
        replies = [address(answer) for answer in answers]
        await channel.send(replies)
        await channel.results(replies, SLOW_SECONDS)
        self._ack(replies)
        return replies, channel

    async def _finish(self, replies: Sequence[PublishedReply], channel: OutboxChannel) -> list[Settled]:
        """See to those that were not just taken."""
        if any(reply.result is OPEN or reply.result.status in UNDECIDED for reply in replies):
            await self._settlement.finish(replies, channel)
        settled = [self._ending(reply) for reply in replies]
        if Settled.REJECTED in settled or Settled.REQUEUED in settled:
            await self._settle_refused(replies, settled)
        return settled

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        """Pass on what one read of the socket brought."""
        arrived, wall = trio.current_time(), time.time()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it is redelivered elsewhere
            for delivery in deliveries:
                if delivery.properties is None:
                    self._reject_unreadable(delivery.tag)
                else:
                    request = self._reading.request(delivery, delivery.properties, arrived, wall)
                    self._consumption.deliveries.enter(request)
                    self._deliver.send_nowait(request)

    def _report_end(self, why: str | None) -> None:
        self._end.report(why or self._consumer.end)

    def _reject_unreadable(self, tag: int) -> None:
        """Leave it to the broker, which alone can dead-letter it as it was."""
        _log.warning(
            "queue %s: a request was rejected, for the broker to dead-letter or to drop: its properties are "
            "not valid AMQP (the queue's own argument x-dead-letter-exchange, or a policy, keeps such)",
            self._topology.queue,
        )
        self._consumption.reject_unread(tag)

    def _refuse_foreign(self, answers: Sequence[Answer]) -> None:
        """Tags are void after their session; what a lost session held is computed again elsewhere."""
        if self._end.reason is not None:
            raise SessionLost(self._end.reason)
        holds = self._consumption.deliveries.holds
        if not all(holds(answer.request) for answer in answers):
            raise SessionLost("a request of an earlier session, or one that is settled, can't be settled")

    def _ack(self, replies: Sequence[PublishedReply]) -> None:
        acked = {reply.answer.request.tag for reply in replies if is_over(reply) and not reply.answer.is_part}
        if acked:
            self._consumption.settle(acked)
        if self._destinations.give_trouble:
            self._destinations.note_passed(
                reply.answer.request.reply_to for reply in replies if reply.result is CONFIRMED
            )

    def _ending(self, reply: PublishedReply) -> Settled:
        answer, result = reply.answer, reply.result
        if answer.dead_letter is not None:
            return Settled.REJECTED
        if answer.reply is None:
            return Settled.UNROUTABLE if isinstance(answer.error, CallerGone) else Settled.DROPPED
        if result.status is PublishStatus.UNSENDABLE:
            self._learn(answer, result)
            return Settled.UNSENDABLE
        if result.status in ACKED:
            return ACKED[result.status]
        # Over a poisonous one the broker would close the connection each time that it comes back.
        is_requeued = self._topology.on_refused_reply == "requeue" and not result.is_poison
        return Settled.REQUEUED if is_requeued else Settled.REJECTED

    def _learn(self, answer: Answer, result: PublishResult) -> None:
        self.max_reply_size = learned_limit(result.why) or self.max_reply_size
        self._warn(answer.request, f"gets an error for a reply, since the reply can't be sent: {result.why}")

    async def _settle_refused(self, replies: Sequence[PublishedReply], settled: Sequence[Settled]) -> None:
        """Requeue what is to be tried again; the rest goes to the dead letters, and only then is acked."""
        requeued, letters = set[int](), list[tuple[Delivered, str]]()
        for reply, ending in zip(replies, settled, strict=True):
            request, why = cast(Delivered, reply.answer.request), reply.result.why  # this session made it
            if reply.answer.is_part:  # what comes of its request, the last message decides
                continue
            if ending is Settled.REJECTED:
                letters.append((request, reply.answer.dead_letter or f"the broker refused the reply: {why}"))
            elif ending is Settled.REQUEUED:
                self._warn(request, f"is back in its queue, since the broker refused the reply: {why}")
                requeued.add(request.tag)
        dead_lettered = await self._dead_letters.send(letters)
        rejected = {request.tag for request, _ in letters} - dead_lettered
        self._consumption.settle(dead_lettered, rejected=rejected, requeued=requeued)

    def _warn(self, request: Request, what: str) -> None:
        _log.warning(
            "queue %s: request %r of %s %s",
            self._topology.queue,
            request.correlation_id,
            shown_address(request.reply_to),
            what,
            extra={"queue": self._topology.queue, **ids_of(request).as_fields()},
        )


def is_over(reply: PublishedReply) -> bool:
    """Whether nothing is left to be done but to ack the request."""
    result = reply.result
    return (result is CONFIRMED or result.status in ACKED) and reply.answer.dead_letter is None


def _is_replied(reply: PublishedReply) -> bool:
    """Whether nothing is left to be done, as it usually is."""
    return reply.result is CONFIRMED and not reply.answer.dead_letter
