"""A session's consumer, and how another one takes its place on the same channel.

A prefetch holds for consumers that begin later, and a priority is a consumer's own. So to change them, the
next consumer is begun, and the old one cancelled. In this order, since a queue that is auto-delete goes with
its last consumer:

    qos ─▶ qos-ok ─▶ consume ─▶ consume-ok ─▶ cancel ─▶ cancel-ok
           what the old one has room for still comes ───▶│

Deliveries belong to the channel: those of earlier consumers stay unacked, can be settled as ever, and don't
count in the new one's prefetch.

A quorum queue requeues what it deals to a consumer while that is being cancelled, and counts it as a
delivery. It deals nothing to one that has no room, so that is the time to change it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from rpcb_trio._messages import Request
from rpcb_trio._transports._amqp._data._closing import NOT_FOUND, ChannelRefused
from rpcb_trio._transports._amqp._data._consumption import Consumption
from rpcb_trio._transports._protocol import QueueFacts
from rpcb_trio.errors import SessionLost

ANSWER_SECONDS = 10.0
"""How long a broker may take to answer; a worker that is cancelled meanwhile waits for it."""


class Consumer:
    """Consumes one queue on one channel, with one consumer at a time.

    Args:
        queue: its name.
        consumption: the channel.
        may_pause: whether the queue stays though nobody consumes it.
    """

    def __init__(self, queue: str, consumption: Consumption, *, may_pause: bool) -> None:
        self._queue = queue
        self._consumption = consumption
        self._may_pause = may_pause
        self._tag: str | None = None
        self._replaced: str | None = None
        """The consumer before it, until that is cancelled."""
        self._prefetch = self._limit = 0
        """The prefetch, and that of the next consumer as the broker was told last."""
        self._older = 0
        """The last tag before the present consumer's."""
        self._changing = trio.Lock()
        self._has_stopped = False

    def room(self, settled: Iterable[Request] = ()) -> int:
        """See `Session.room`."""
        if self._tag is None:
            return 0
        deliveries = self._consumption.deliveries
        left = deliveries.later_than(self._older)
        left -= sum(1 for each in settled if each.tag > self._older and deliveries.holds(each))
        return max(0, self._prefetch - left)

    @property
    def end(self) -> str:
        """What it means that the broker has ended it."""
        return (
            f"the broker ended the consumer: was queue {self._queue!r} deleted, or a request held for longer "
            "than its consumer_timeout? then lower prefetch, or raise that"
        )

    async def begin(self, prefetch: int, priority: int = 0) -> None:
        """Begin to consume, unless that has stopped meanwhile.

        Raises:
            ChannelRefused: the broker will not have it.
        """
        control = self._consumption.control
        if prefetch != self._limit:
            await control.limit_prefetch(prefetch)
            self._limit = prefetch
        if self._has_stopped:
            return
        self._prefetch, self._older = prefetch, self._consumption.deliveries.newest
        arguments = {"x-priority": priority} if priority else None
        self._tag = await control.consume(self._queue, arguments=arguments)

    async def change(self, prefetch: int, priority: int) -> None:
        """See `Session.reconsume`."""
        async with self._asking():
            if self._has_stopped or not (prefetch or self._may_pause):
                return
            self._replaced, self._tag = self._tag, None
            if prefetch:
                await self.begin(prefetch, priority)
            old, self._replaced = self._replaced, None
            if old is not None:
                await self._consumption.control.cancel(old)
            if self._has_stopped:  # while it began, and nobody knew how to end it
                await self._cancel()

    async def backlog(self) -> QueueFacts:
        """See `Session.backlog`."""
        async with self._asking():
            if self._has_stopped:
                return QueueFacts(ready=0, consumers=0)
            found = await self._consumption.control.declare_queue(self._queue, passive=True)
            return QueueFacts(ready=found.ready, consumers=found.consumers)

    async def stop(self) -> bool:
        """Consume no more; returns whether it did until now.

        Raises:
            SessionLost: the broker is gone.
        """
        if self._has_stopped:
            return False
        self._has_stopped = True
        async with self._asking():
            await self._cancel()
        return True

    async def _cancel(self) -> None:
        tag, self._tag = self._tag, None
        if tag is not None:
            await self._consumption.control.cancel(tag)

    def requeue(self, requests: Sequence[Request]) -> None:
        """See `Session.requeue`."""
        self._has_stopped = True
        consumers = [tag for tag in (self._tag, self._replaced) if tag is not None]
        self._tag = self._replaced = None
        self._consumption.requeue(requests, consumers)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Ask the broker one thing at a time.

        Raises:
            SessionLost: it refused, or it is gone.
        """
        async with self._changing:
            # aiormq closes the channel where it is cancelled while it asks.
            with trio.move_on_after(ANSWER_SECONDS, shield=True) as scope:
                try:
                    yield
                except ChannelRefused as exc:
                    # Nobody is told that a queue was deleted while he did not consume it.
                    raise SessionLost(self.end if exc.code == NOT_FOUND else str(exc)) from exc
        if scope.cancelled_caught:
            raise SessionLost(f"the broker did not answer within {ANSWER_SECONDS:g} s")
