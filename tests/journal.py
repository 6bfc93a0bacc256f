"""A transport that keeps books of what was received, answered and acked, for the tests that cut it short."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import trio

from rpcb_trio import Answer, MemoryBroker, Request, Settled, Topology
from rpcb_trio._transports import CallerSession, Session
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
        self.acked: list[tuple[int, Request]] = []
        self.on_reply: Callable[[int], None] = lambda _: None

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        async with self.broker.open_session(topology, prefetch=prefetch) as session:
            self.session += 1
            yield SteppedSession(session, self)

    def open_caller(self) -> AbstractAsyncContextManager[CallerSession]:
        return self.broker.open_caller()

    def request_received(self, request: Request) -> None:
        self.received_in.append((self.session, request))


class SteppedSession:
    """Publishes one reply at a time, then acks one request at a time; each may be the last that is done."""

    def __init__(self, session: Session, journal: Journal) -> None:
        self._session = session
        self._journal = journal
        self._number = journal.session
        self.requests = session.requests
        self.stop_consuming = session.stop_consuming
        self.watch = session.watch

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        endings = [await self._publish(answer) for answer in answers]
        for answer in answers:
            await self._ack(answer)
        return endings

    async def _publish(self, answer: Answer) -> Settled:
        await trio.lowlevel.checkpoint()
        request, reply = answer.request, answer.reply
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


def check_books(journal: Journal, sent: Iterable[bytes]) -> None:
    """Nothing acked unanswered, nothing answered twice without a redelivery, all else back in the queue."""
    replies = list(taken(journal.broker))
    assert Counter(reply.correlation_id for reply in replies) == journal.replied
    received = Counter(request.correlation_id for _, request in journal.received_in)
    acked = [request.correlation_id for _, request in journal.acked]
    queued = [message.correlation_id for message in taken(journal.broker, QUEUE)]
    bodies = {body.split()[-1].decode(): body for body in sent}
    assert sorted(map(str, [*acked, *queued])) == sorted(bodies), "each is acked or in the queue, and once"
    assert all(journal.replied[each] for each in acked), "acked unanswered"
    assert all(journal.replied[each] <= received[each] for each in bodies), (
        "answered more often than received"
    )
    assert all(reply.body == expected(bodies[reply.correlation_id or ""]) for reply in replies), "of another"
    own = {(session, id(request)) for session, request in journal.received_in}
    assert all((session, id(request)) in own for session, request in journal.acked), "stale tag"
