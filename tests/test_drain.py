"""Drain is a close, not a flag: what is held is answered, what is not held stays in the queue."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, LogInstrument, MemoryBroker, Topology
from rpcb_trio._transports import Session
from rpcb_trio.batching import Decision, Pending
from rpcb_trio.errors import DrainTimeout
from tests.scenarios import QUEUE, Running, Shouting, UnsteadyTransport, answers, ask, taken, working

T = TypeVar("T")

BODIES = [b"good %d" % n for n in range(12)]

FOURS = FixedPolicy(4, max_wait=1.0)


def ten_seconds(_: int) -> float:
    return 10.0


async def test_draining_answers_what_is_held_and_leaves_the_rest_in_the_queue(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES)
    async with working(Shouting(), broker, batching=FOURS, service_time=ten_seconds) as running:
        await trio.sleep(5)
        assert running.worker.held == 8
    assert answers(broker) == {f"{n}": b"ok:GOOD %d" % n for n in range(8)}
    assert [message.body for message in taken(broker, QUEUE)] == BODIES[8:]
    assert running.worker.held == 0


async def test_draining_tells_its_steps_in_order(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES[:3])
    async with working(Shouting(), broker, service_time=ten_seconds) as running:
        await trio.sleep(5)
    assert running.drain_steps == ["stop consuming", "finish 3 request(s)", "drained"]


async def test_draining_an_idle_worker_takes_no_time(autojump_clock: MockClock) -> None:
    async with working(Shouting(), MemoryBroker()):
        await trio.sleep(100)
        started = trio.current_time()
    assert trio.current_time() == started


async def test_what_the_deadline_cuts_off_is_counted_and_delivered_again(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES)
    with pytest.raises(DrainTimeout, match="drain_timeout of 12 s ran out with 4 request") as caught:
        async with working(
            Shouting(), broker, batching=FOURS, service_time=ten_seconds, drain_timeout=12.0
        ) as running:
            await trio.sleep(5)
    assert caught.value.left == 4 == running.left
    assert running.drain_steps == ["stop consuming", "finish 8 request(s)"]
    assert len(answers(broker)) == 4
    async with working(Shouting(), broker) as other:
        await other.until_settled(8)
    assert sum(request.redelivered for request in other.received) == 4
    assert len(answers(broker)) == 8


async def test_draining_twice_is_draining_once_and_the_first_deadline_counts(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES)
    started = trio.current_time()

    async def drain_twice() -> None:
        async with working(Shouting(), broker, service_time=lambda _: 1000.0) as running:
            await trio.sleep(5)
            running.worker.drain()
            await trio.sleep(20)
            running.worker.drain()
            await trio.sleep_forever()

    with pytest.raises(DrainTimeout):
        await drain_twice()
    assert trio.current_time() - started == 5 + 30


async def test_draining_ends_the_wait_for_a_lost_broker_at_once(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    transport = UnsteadyTransport(broker, refused=range(1, 1000))
    async with working(Shouting(), transport):
        broker.disconnect()
        await trio.sleep(300)  # by now the waits are long
        started = trio.current_time()
    assert trio.current_time() == started


async def test_a_session_that_is_lost_while_draining_is_not_rebuilt(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES[:4])
    transport = UnsteadyTransport(broker, refused=[])
    async with working(Shouting(), transport, batching=FOURS, service_time=ten_seconds) as running:
        await trio.sleep(5)
        running.worker.drain()
        await trio.sleep(1)
        broker.disconnect()
    assert len(transport.attempts) == 1
    assert [message.body for message in taken(broker, QUEUE)] == BODIES[:4]


async def test_a_drain_that_loses_its_session_tells_how_much_went_back_and_never_that_it_has_drained(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rpcb_trio")
    broker = MemoryBroker()
    ask(broker, *BODIES)
    log = LogInstrument("asr")
    async with working(
        Shouting(), broker, batching=FOURS, service_time=ten_seconds, instruments=[log]
    ) as running:
        await trio.sleep(5)
        running.worker.drain()
        await trio.sleep(6)
        broker.disconnect()  # the first four are answered, the next four are being computed
    assert running.drain_steps == ["stop consuming", "finish 8 request(s)"]
    assert running.left == 4
    assert len(answers(broker)) == 4
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING][-2:] == [
        "asr: session lost (the embedded broker has disconnected); it is not opened again",
        "asr: stopped with 4 request(s) unanswered; the broker redelivers them",
    ]


async def slowly(function: Callable[[], T]) -> T:
    await trio.sleep(1)
    return function()


async def test_what_lies_delivered_but_unread_counts_as_held(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES)
    running = Running()

    async def drain() -> None:
        async with working(
            Shouting(), broker, offload=slowly, decode_threads=2, drain_timeout=3, instruments=[running]
        ) as it:
            await trio.sleep(0.5)  # two are being decoded
            assert it.worker.held == 12
            it.worker.drain()
            await trio.sleep(0.1)
            assert it.drain_steps == ["stop consuming", "finish 12 request(s)"]

    with pytest.raises(DrainTimeout, match="with 10 request") as caught:
        await drain()
    assert caught.value.left == running.left
    async with broker.open_session(Topology(queue=QUEUE), prefetch=100) as session:
        assert session.requests.statistics().current_buffer_used == caught.value.left


class DeafTransport(UnsteadyTransport):
    """Its broker does not answer when it is asked to deliver no more."""

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        async with super().open_session(topology, prefetch=prefetch) as session:
            session.stop_consuming = trio.sleep_forever  # type: ignore[method-assign] # it never stops
            yield session


async def test_a_drain_that_holds_nothing_is_in_time_even_where_the_broker_does_not_answer(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), DeafTransport(broker, refused=[]), drain_timeout=12) as running:
        await trio.sleep(5)
    assert running.drain_steps == ["stop consuming", "drained"]
    assert running.left == 0


async def test_cancelling_leaves_every_request_in_the_queue_marked_and_in_order(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES)
    async with working(Shouting(), broker, batching=FOURS, service_time=ten_seconds) as running:
        await trio.sleep(5)
        running.cancel()
    assert not answers(broker)
    assert running.left == 8
    async with broker.open_session(Topology(queue=QUEUE), prefetch=100) as session:
        again = [session.requests.receive_nowait() for _ in BODIES]
    assert [request.body for request in again] == BODIES
    assert [request.redelivered for request in again] == [True] * 8 + [False] * 4


class Broken(FixedPolicy):
    """Fails at its first decision."""

    def decide(
        self,
        pending: Sequence[Pending],
        now: float,
        *,
        final: bool,
        others_idle: int = 0,  # noqa: ARG002 - any policy's
    ) -> Decision:
        raise ZeroDivisionError(f"{len(pending)} at {now}, {final=}")


async def test_a_worker_whose_own_parts_fail_ends_at_once_and_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES)
    with pytest.raises(ZeroDivisionError):
        async with working(Shouting(), broker, batching=Broken()) as running:
            await trio.sleep_forever()
    assert running.left == 12
    assert broker.depth(QUEUE) == 12
