"""A transport that keeps books of what was received, answered and acked, for the tests that cut it short."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import trio

from rpcb_trio import MemoryBroker, Request, Topology
from rpcb_trio._transports import CallerSession, Rest, Session
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.testing import Recorder
from tests.scenarios import QUEUE, expected, taken


class Journal(Recorder):
    """A transport that settles in single steps, an await before each, and writes down what was done.

    As an instrument it also writes down in which session each request was received.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__()
        self.broker = broker
        self.session = 0
        self.received_in: list[tuple[int, Request]] = []
        self.replied: Counter[str | None] = Counter()
        self.dropped: Counter[str | None] = Counter()
        self.acked: list[tuple[int, Request]] = []
        self.on_reply: Callable[[int], None] = lambda _: None

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        async with self.broker.open_session(topology, prefetch=prefetch) as session:
            self.session += 1
            yield SteppedSession(session, self)

    def open_caller(self) -> AbstractAsyncContextManager[CallerSession]:
        return self.broker.open_caller()

    def requests_received(self, requests: Sequence[Request]) -> None:
        self.received_in.extend((self.session, request) for request in requests)


class SteppedSession:
    """Publishes one reply at a time, then acks one request at a time; each may be the last that is done."""

    def __init__(self, session: Session, journal: Journal) -> None:
        self._session = session
        self._journal = journal
        self._number = journal.session
        self.requests = session.requests
        self.stop_consuming = session.stop_consuming
        self.watch = session.watch
        self.blockages = session.blockages
        self.cancels = session.cancels
        self.max_reply_size = session.max_reply_size
        self.has_caller = session.has_caller
        self.requeue = session.requeue
        self.apart = session.apart
        self.reconsume = session.reconsume
        self.backlog = session.backlog
        self.room = session.room

    async def settle_promptly(
        self, answers: Sequence[Answer]
    ) -> tuple[Sequence[Settled | None], Rest | None]:
        """What is alone at once, else the first; the rest later."""
        if len(answers) == 1:
            return await self.settle(answers), None
        [first] = await self.settle(answers[:1])

        async def settle_rest() -> list[Settled]:
            return [first, *await self.settle(answers[1:])]

        return [first, *[None] * (len(answers) - 1)], settle_rest

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        endings = [await self._publish(answer) for answer in answers]
        for answer in answers:
            await self._ack(answer)
        return endings

    async def _publish(self, answer: Answer) -> Settled:
        await trio.lowlevel.checkpoint()
        request, reply = answer.request, answer.reply
        if reply is None:
            self._journal.dropped[request.correlation_id] += 1
            return Settled.DROPPED
        if request.reply_to is None:
            return Settled.NO_REPLY_TO
        self._journal.replied[request.correlation_id] += 1
        is_routed = self._journal.broker.publish(
            reply.body, routing_key=request.reply_to, correlation_id=reply.correlation_id
        )
        self._journal.on_reply(self._journal.replied.total())
        return Settled.REPLIED if is_routed else Settled.UNROUTABLE

    async def _ack(self, answer: Answer) -> None:
        silent = msgspec.structs.replace(answer.request, reply_to=None)  # acks, and publishes nothing
        await self._session.settle([msgspec.structs.replace(answer, request=silent)])
        self._journal.acked.append((self._number, answer.request))


def check_books(
    broker: MemoryBroker, journals: Sequence[Journal], sent: Sequence[bytes], *, also: Container[bytes] = ()
) -> None:
    """Nothing acked unanswered, nothing answered more often than delivered, all else back in the queue.

    A `brief` request may also have expired, in the queue or in the worker, and be dropped there. Besides what
    `expected` tells, any may be answered with what is in `also`.
    """
    bodies = {body.split()[-1].decode(): body for body in sent}
    lasting = {each for each, body in bodies.items() if not body.startswith(b"brief")}
    received = Counter(request.correlation_id for each in journals for _, request in each.received_in)
    acked = Counter(request.correlation_id for each in journals for _, request in each.acked)
    replied = sum((each.replied for each in journals), Counter[str | None]())
    dropped = sum((each.dropped for each in journals), Counter[str | None]())
    replies = list(taken(broker))
    queued = Counter(message.correlation_id for message in taken(broker, QUEUE))
    assert Counter(reply.correlation_id for reply in replies) == replied, "a reply with another's id"
    assert all(
        reply.body in expected(bodies[reply.correlation_id or ""]) or reply.body in also for reply in replies
    ), "another's content"
    assert all(acked[each] + queued[each] == 1 for each in lasting), "neither acked nor in the queue, or both"
    assert not lasting & set(dropped), "dropped though it never expires"
    assert all(replied[each] or dropped[each] for each in acked), "acked unanswered"
    assert all(replied[each] <= received[each] for each in bodies), "answered again without a redelivery"
    for each in journals:
        own = {(session, id(request)) for session, request in each.received_in}
        assert all((session, id(request)) in own for session, request in each.acked), "acked with a stale tag"
