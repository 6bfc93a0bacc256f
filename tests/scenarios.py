"""What the tests in virtual time share: producers, a service with a shape of its own, a worker under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Literal

import trio
from hypothesis import HealthCheck, settings

from rpcb_trio import (
    Failure,
    FixedPolicy,
    Instrument,
    MemoryBroker,
    Outcome,
    Reply,
    Success,
    Topology,
    Worker,
    serve,
)
from rpcb_trio._messages import NO_HEADERS
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._pipeline import Offload
from rpcb_trio._transports import CallerSession, Session
from rpcb_trio.batching import Decision, Pending, Policy
from rpcb_trio.errors import SessionLost
from rpcb_trio.executors import Executor
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.testing import Recorder, VirtualExecutor, in_place
from rpcb_trio.transports import Transport

QUEUE = "work"
ANSWERS = "answers"

steady = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For hypothesis: the same examples in every run, and no timing asserted; a busy machine draws slowly."""


class Shouting:
    """Answers in a shape of its own: `ok:TEXT` or `failed:CODE`. A body's first word says how it fares.

    `poison` makes infer raise for the whole batch, `sick` fails alone, `mute` can't be encoded, `brief` may
    expire, `crowd` may be refused; what is not UTF-8 can't be decoded.
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


class Stubborn(FixedPolicy):
    """Holds what it would hold, though no more come."""

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        return super().decide(pending, now, final=final and not pending, others_idle=others_idle)


ENDINGS = {
    b"good": ["ok:{}"],
    b"brief": ["ok:{}", "failed:expired", "failed:too-late"],
    b"crowd": ["ok:{}", "failed:overloaded"],
    b"sick": ["failed:infer"],
    b"poison": ["failed:infer"],
    b"mute": ["failed:encode"],
    b"\xff": ["failed:decode"],
}


def expected(body: bytes) -> list[bytes]:
    """What `Shouting` may answer."""
    text = body.decode(errors="replace").upper()
    return [ending.format(text).encode() for ending in ENDINGS[body.split()[0]]]


def ask(
    broker: MemoryBroker,
    *bodies: bytes,
    reply_to: str | None = ANSWERS,
    expiration: float | None = None,
    headers: Mapping[str, object] = NO_HEADERS,
) -> None:
    """Send requests as a foreign producer would; each body's last word is its correlation id."""
    broker.declare(QUEUE)
    broker.declare(ANSWERS)
    for body in bodies:
        name = body.split()[-1].decode()
        broker.publish(
            body,
            routing_key=QUEUE,
            reply_to=reply_to,
            correlation_id=name,
            expiration=expiration,
            headers=headers,
        )


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


class Running(Recorder):
    """A worker under test: drain it, cancel it, look at what it did."""

    worker: Worker
    cancel: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        self._progress = trio.Event()

    @property
    def sizes(self) -> list[int]:
        return [batch.size for batch in self.batches]

    @property
    def endings(self) -> Counter[Settled]:
        return Counter(settled for _, settled in self.settled)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        super().requests_settled(answers, settled)
        self._progress.set()
        self._progress = trio.Event()

    async def until_settled(self, count: int) -> None:
        """Wait until so many requests are settled, but not beyond all reason."""
        with trio.fail_after(100_000):
            while len(self.settled) < count:
                await self._progress.wait()


@asynccontextmanager
async def working(
    service: Any,
    transport: Transport,
    *,
    queue: Topology | str = QUEUE,
    service_time: Callable[[int], float] | None = None,
    executors: int | Sequence[Executor] = 1,
    batching: Policy | None = None,
    prefetch: int | None = None,
    max_pending: int | None = None,
    expired: Literal["answer", "drop"] = "answer",
    batch_headers: bool = False,
    drain_timeout: float = 30.0,
    offload: Offload = in_place,
    decode_threads: int = 1,
    instruments: Iterable[Instrument] = (),
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run a worker in virtual time; leaving it drains the worker and waits for its end."""
    running = Running()
    infer = getattr(service, "infer", service)
    if isinstance(executors, int):
        executors = [VirtualExecutor(infer, service_time) for _ in range(executors)]
    start = partial(
        serve,
        service,
        transport,
        queue,
        batching=batching,
        prefetch=prefetch,
        max_pending=max_pending,
        expired=expired,
        batch_headers=batch_headers,
        executors=executors,
        offload=offload,
        decode_threads=decode_threads,
        drain_timeout=drain_timeout,
        instruments=[running, *instruments],
        **settings,
    )
    async with open_serving_nursery() as nursery:
        running.worker = await nursery.start(start, name="serve")
        running.cancel = nursery.cancel_scope.cancel
        yield running
        running.worker.drain()


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
