"""A worker's session: deliveries come in on one connection, replies go out on another.

Two, because a broker short of memory or disk stops reading from connections that publish; an ack behind a
reply would be stuck with it, and the delivery would time out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn, cast

import trio
from aiormq import Channel
from aiormq.exceptions import ChannelClosed

from rpcb_trio._errors import CallerGone, SessionLost
from rpcb_trio._messages import Answer, Request, Settled, shown_address
from rpcb_trio._transports._amqp._addressing import address
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._data import (
    CONFIRMED,
    OPEN,
    Consumption,
    Message,
    PublishResult,
    PublishStatus,
)
from rpcb_trio._transports._amqp._dead_letters import DeadLetters
from rpcb_trio._transports._amqp._delivered import Delivered, Reading
from rpcb_trio._transports._amqp._destinations import Destinations
from rpcb_trio._transports._amqp._direct_callers import DirectCallers
from rpcb_trio._transports._amqp._frames import Delivery
from rpcb_trio._transports._amqp._limits import learned_limit, unset_priority
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._methods import Consume
from rpcb_trio._transports._amqp._outbox import Outbox
from rpcb_trio._transports._amqp._publishing import Sending
from rpcb_trio._transports._amqp._settlement import SLOW_SECONDS, UNDECIDED, Settlement
from rpcb_trio._transports._amqp._topology import told_by_topology
from rpcb_trio._transports._deadline import Deadlines
from rpcb_trio._transports._protocol import Rest, Topology

_log = logging.getLogger(__name__)

ACKED = {
    PublishStatus.NOBODY: Settled.NO_REPLY_TO,
    PublishStatus.CONFIRMED: Settled.REPLIED,
    PublishStatus.RETURNED: Settled.UNROUTABLE,
}

TURNED_AWAY = frozenset({Settled.REJECTED, Settled.REQUEUED})


class AmqpSession:
    """Implements `Session`."""

    def __init__(
        self,
        loss: Loss,
        outbox: Outbox,
        blockage: Blockage,
        callers: DirectCallers,
        *,
        topology: Topology,
        prefetch: int,
    ) -> None:
        self._loss = loss
        self._blockage = blockage
        self._direct_callers = callers
        self._outbox = outbox
        self._dead_letters = DeadLetters(outbox, topology)
        self._destinations = Destinations(prefetch)
        self._topology = topology
        self._reading: Reading
        self._prefetch = prefetch
        # The broker keeps no more than `prefetch` unacked, so there is always room.
        self._deliver, self._requests = trio.open_memory_channel[Request](prefetch)
        self._consumption: Consumption
        self._consumer_tag: str | None = None
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
        messages, results, sending = await self._send(answers)
        if self._are_replied(answers, results):
            return [Settled.REPLIED] * len(answers)
        return await self._settle_others(answers, messages, results, sending)

    async def settle_promptly(
        self, answers: Sequence[Answer]
    ) -> tuple[Sequence[Settled | None], Rest | None]:
        """Reply and ack what is taken at once (see `Session`)."""
        messages, results, sending = await self._send(answers)
        if self._are_replied(answers, results):
            return [Settled.REPLIED] * len(answers), None
        settled = [
            self._ending(answer, result) if is_over(answer, result) else None
            for answer, result in zip(answers, results, strict=True)
        ]
        return settled, partial(self._settle_others, answers, messages, results, sending)

    async def _send(
        self, answers: Sequence[Answer]
    ) -> tuple[list[Message | None], list[PublishResult], Sending]:
        """Publish the replies, wait a while for their confirms, and ack what was taken."""
        self._refuse_strangers(answers)
        publisher = self._outbox.publisher or await self._outbox.open()
        messages = [address(answer) for answer in answers]
        sending = await publisher.send(messages)
        results = await sending.results(SLOW_SECONDS)
        self._ack(answers, results)
        return messages, results, sending

    @staticmethod
    def _are_replied(answers: Sequence[Answer], results: Sequence[PublishResult]) -> bool:
        """Whether nothing is left to be done for any, as it usually is."""
        is_taken = all(result is CONFIRMED for result in results)
        return is_taken and not any(answer.dead_letter for answer in answers)

    async def _settle_others(
        self,
        answers: Sequence[Answer],
        messages: Sequence[Message | None],
        results: list[PublishResult],
        sending: Sending,
    ) -> list[Settled]:
        """See to those that were not just taken."""

        def ack(places: Collection[int]) -> None:
            self._ack([answers[n] for n in places], [results[n] for n in places])

        if any(result is OPEN or result.status in UNDECIDED for result in results):
            settlement = Settlement(
                self._topology.queue,
                answers,
                messages,
                results,
                ack=ack,
                keeps_trying=self._topology.on_refused_reply == "requeue",
            )
            await settlement.finish(sending, self._outbox, self._destinations, self._blockage)
        settled = [self._ending(answer, result) for answer, result in zip(answers, results, strict=True)]
        if not TURNED_AWAY.isdisjoint(settled):
            await self._turn_away(answers, results, settled)
        return settled

    def apart(self, answers: Sequence[Answer]) -> list[Sequence[Answer]]:
        """Divide them, so that none waits for an address that gives trouble (see `Session`)."""
        return self._destinations.apart(answers) if self._destinations.give_trouble else [answers]

    async def has_caller(self, reply_to: str) -> bool:
        """Whether somebody may be there (see `Session`)."""
        return await self._direct_callers.has(reply_to)

    async def stop_consuming(self) -> None:
        """Let no more come (see `Session`)."""
        tag, self._consumer_tag = self._consumer_tag, None
        if tag is None:
            return
        # The broker's answer comes behind the deliveries that were on their way.
        try:
            await self._consumption.control.ask(Channel.basic_cancel, tag)
        except ChannelClosed as exc:
            raise SessionLost(describe(exc)) from exc
        self._deliver.close()

    def give_back(self, requests: Sequence[Request]) -> None:
        """Give back what nobody is at work on (see `Session`)."""
        tag, self._consumer_tag = self._consumer_tag, None
        self._consumption.give_back(requests, tag)

    async def watch(self) -> NoReturn:
        """Wait for the end (see `Session`)."""
        await self._loss.watch()

    async def consume(self, connection: Connection) -> None:
        """Have the requests delivered."""
        queue = self._topology.queue
        unset = unset_priority(connection.server_properties, self._topology)
        self._reading = Reading(Deadlines(queue), unset)
        self._consumption = consumption = await connection.data_channel(Consumption)
        consumption.take, consumption.end = self._take, self._end
        with told_by_topology(f"queue {queue!r}"):
            await consumption.control.ask(Channel.basic_qos, prefetch_count=self._prefetch)
            consuming = await consumption.control.ask(Channel.rpc, Consume(queue=queue))
        self._consumer_tag = consuming.consumer_tag

    def give_back_all(self) -> None:
        """Give back all that is open, whether or not code runs on it: no request ended the session."""
        self.give_back(self._consumption.open_requests)

    def close(self) -> None:
        """End `requests` and `blockages`."""
        self._deliver.close()
        self._blockage.close()

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        """Pass on what one read of the socket brought."""
        arrived, wall = trio.current_time(), time.time()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it is redelivered elsewhere
            for delivery in deliveries:
                if delivery.properties is None:
                    self._reject_unreadable(delivery.tag)
                else:
                    request = self._reading.request(delivery, delivery.properties, arrived, wall)
                    self._consumption.enter(request)
                    self._deliver.send_nowait(request)

    def _end(self, why: str | None) -> None:
        self._loss.report(
            why
            or f"the broker ended the consumer: was queue {self._topology.queue!r} deleted, or a request "
            "held for longer than its consumer_timeout? then lower prefetch, or raise that"
        )

    def _reject_unreadable(self, tag: int) -> None:
        """Leave it to the broker, who alone can dead-letter it as it was."""
        _log.warning(
            "queue %s: a request was rejected, for the broker to dead-letter or to drop: its properties are "
            "not valid AMQP (the queue's own argument x-dead-letter-exchange, or a policy, keeps such)",
            self._topology.queue,
        )
        self._consumption.reject_unread(tag)

    def _refuse_strangers(self, answers: Sequence[Answer]) -> None:
        """Tags are void after their session; what a lost session held is computed again elsewhere."""
        if self._loss.reason is not None:
            raise SessionLost(self._loss.reason)
        if not all(self._consumption.holds(answer.request) for answer in answers):
            raise SessionLost("a request of an earlier session, or one that is settled, can't be settled")

    def _ack(self, answers: Sequence[Answer], results: Sequence[PublishResult]) -> None:
        acked = {
            answer.request.tag
            for answer, result in zip(answers, results, strict=True)
            if is_over(answer, result)
        }
        if acked:
            self._consumption.settle(acked)
            if self._destinations.give_trouble:
                passed = zip(answers, results, strict=True)
                self._destinations.note_passed(
                    answer.request.reply_to for answer, result in passed if result is CONFIRMED
                )

    def _ending(self, answer: Answer, result: PublishResult) -> Settled:
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
        goes_back = self._topology.on_refused_reply == "requeue" and not result.is_poison
        return Settled.REQUEUED if goes_back else Settled.REJECTED

    def _learn(self, answer: Answer, result: PublishResult) -> None:
        self.max_reply_size = learned_limit(result.why) or self.max_reply_size
        self._warn(answer.request, f"gets an error for a reply, since the reply can't be sent: {result.why}")

    async def _turn_away(
        self, answers: Sequence[Answer], results: Sequence[PublishResult], settled: Sequence[Settled]
    ) -> None:
        """Give back what is to be tried again; the rest goes to the dead letters, and only then is acked."""
        back, letters = set[int](), list[tuple[Delivered, str]]()
        for answer, result, ending in zip(answers, results, settled, strict=True):
            request = cast(Delivered, answer.request)  # this session made it
            if ending is Settled.REJECTED:
                reason = answer.dead_letter or f"the broker refused the reply: {result.why}"
                letters.append((request, reason))
            elif ending is Settled.REQUEUED:
                self._warn(request, f"is back in its queue, since the broker refused the reply: {result.why}")
                back.add(request.tag)
        arrived = await self._dead_letters.send(letters)
        rejected = {request.tag for request, _ in letters} - arrived
        self._consumption.settle(arrived, rejected=rejected, requeued=back)

    def _warn(self, request: Request, what: str) -> None:
        _log.warning(
            "queue %s: request %r of %s %s",
            self._topology.queue,
            request.correlation_id,
            shown_address(request.reply_to),
            what,
        )


def is_over(answer: Answer, result: PublishResult) -> bool:
    """Whether nothing is left to be done but to ack the request."""
    return (result is CONFIRMED or result.status in ACKED) and answer.dead_letter is None
