"""What the tests in virtual time share: producers, a service with a shape of its own, a worker under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import trio
from hypothesis import settings

from rpcb_trio import (
    Answer,
    Batch,
    Executor,
    Failure,
    Instrument,
    MemoryBroker,
    Outcome,
    Policy,
    Reply,
    Request,
    SessionLost,
    Settled,
    Success,
    Topology,
    Transport,
    Worker,
    serve,
)
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports import CallerSession, Session
from rpcb_trio.testing import Recorder, VirtualExecutor, in_place

QUEUE = "work"
ANSWERS = "answers"

steady = settings(derandomize=True, deadline=None)
"""For hypothesis: the same examples in every run, and no timing asserted."""


class Shouting:
    """Answers in a shape of its own: `ok:TEXT` or `failed:CODE`. A body's first word says how it fares.

    `poison` makes infer raise for the whole batch, `sick` fails alone, `mute` can't be encoded; what is not
    UTF-8 can't be decoded.
    """

    content_type = "text/plain"

    def __init__(self) -> None:
        self.runs: list[list[str]] = []

    def decode(self, body: bytes) -> str:
        return body.decode()

    def infer(self, items: list[str]) -> list[str | Exception]:
        self.runs.append(items)
        if any(item.startswith("poison") for item in items):
            raise RuntimeError("poisoned")
        return [ValueError(item) if item.startswith("sick") else item.upper() for item in items]

    def encode(self, outcome: Outcome[str]) -> bytes:
        match outcome:
            case Success(value=value) if value.startswith("MUTE"):
                raise ValueError("mute")
            case Success(value=value):
                return f"ok:{value}".encode()
            case Failure(error=error):
                return f"failed:{error.code}".encode()


ENDINGS = {
    b"good": "ok:{}",
    b"sick": "failed:infer",
    b"poison": "failed:infer",
    b"mute": "failed:encode",
    b"\xff": "failed:decode",
}


def expected(body: bytes) -> bytes:
    """What `Shouting` answers."""
    ending = ENDINGS[body.split()[0]]
    return ending.format(body.decode(errors="replace").upper()).encode()


def ask(broker: MemoryBroker, *bodies: bytes, reply_to: str | None = ANSWERS) -> None:
    """Send requests as a foreign producer would; each body's last word is its correlation id."""
    broker.declare(QUEUE)
    broker.declare(ANSWERS)
    for body in bodies:
        broker.publish(body, routing_key=QUEUE, reply_to=reply_to, correlation_id=body.split()[-1].decode())


def taken(broker: MemoryBroker, queue: str = ANSWERS) -> Iterator[Reply]:
    """Take all messages off a queue."""
    broker.declare(queue)
    while (message := broker.get(queue)) is not None:
        yield message


def answers(broker: MemoryBroker) -> dict[str | None, bytes]:
    """Take all replies, by their correlation ids; no two may have the same."""
    replies = [(reply.correlation_id, reply.body) for reply in taken(broker)]
    assert len(replies) == len(dict(replies)), "answered twice"
    return dict(replies)


class Running:
    """A worker under test: drain it, cancel it, look at what it did."""

    def __init__(self, worker: Worker, recorder: Recorder, scope: trio.CancelScope) -> None:
        self.worker = worker
        self.recorder = recorder
        self.cancel = scope.cancel

    @property
    def batches(self) -> list[Batch]:
        return self.recorder.batches

    @property
    def sizes(self) -> list[int]:
        return [batch.size for batch in self.batches]

    @property
    def endings(self) -> Counter[Settled]:
        return Counter(settled for _, settled in self.recorder.settled)


@asynccontextmanager
async def working(
    service: Any,
    transport: Transport,
    *,
    service_time: Callable[[int], float] | None = None,
    executors: int | Sequence[Executor] = 1,
    batching: Policy | None = None,
    prefetch: int | None = None,
    drain_timeout: float = 30.0,
    instruments: Iterable[Instrument] = (),
) -> AsyncIterator[Running]:
    """Run a worker in virtual time; leaving it drains the worker and waits for its end."""
    recorder = Recorder()
    infer = getattr(service, "infer", service)
    if isinstance(executors, int):
        executors = [VirtualExecutor(infer, service_time) for _ in range(executors)]
    start = partial(
        serve,
        service,
        transport,
        QUEUE,
        batching=batching,
        prefetch=prefetch,
        executors=executors,
        offload=in_place,
        drain_timeout=drain_timeout,
        instruments=[recorder, *instruments],
    )
    async with open_serving_nursery() as nursery:
        worker: Worker = await nursery.start(start)
        yield Running(worker, recorder, nursery.cancel_scope)
        worker.drain()


class UnsteadyTransport:
    """Reaches its broker only at the attempts that are not in `refused`, counted from 0."""

    def __init__(self, broker: MemoryBroker, *, refused: Iterable[int]) -> None:
        self._broker = broker
        self._refused = set(refused)
        self.attempts: list[float] = []

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        self.attempts.append(trio.current_time())
        if len(self.attempts) - 1 in self._refused:
            await trio.lowlevel.checkpoint()
            raise SessionLost("connection refused")
        async with self._broker.open_session(topology, prefetch=prefetch) as session:
            yield session

    def open_caller(self) -> AbstractAsyncContextManager[CallerSession]:
        return self._broker.open_caller()


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
