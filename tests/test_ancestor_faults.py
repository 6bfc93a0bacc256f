"""What went wrong in this package's ancestor, each fault once, so that none comes back.

Those that only a real broker can show (publisher confirms, heartbeats while the queue is full) are among the
tests of the amqp transport.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, Outcome, RpcClient, Success, Topology, open_client, serve
from rpcb_trio._transports import CallerSession, Session
from rpcb_trio.batching import Trigger
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.testing import served
from tests.journal import Journal, check_books
from tests.scenarios import QUEUE, Shouting, answers, ask, working


@pytest.mark.parametrize("size", [1, 2, 3, 10, 32])
async def test_a_batch_of_any_size_that_fails_gets_one_reply_each_and_the_worker_goes_on(
    size: int, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, *(b"poison %d" % number for number in range(size)))
    async with working(Shouting(), broker, batching=FixedPolicy(32, max_wait=0.1)) as running:
        await running.until_settled(size)
        assert answers(broker) == {f"{number}": b"failed:infer" for number in range(size)}
        ask(broker, b"good 1")
        await running.until_settled(size + 1)
    assert running.sizes == [size, 1]
    assert answers(broker) == {"1": b"ok:GOOD 1"}


class Recogniser:
    """Answers as speech recognition does."""

    def decode(self, body: bytes) -> bytes:
        return body

    def infer(self, items: list[bytes]) -> list[str]:
        raise MemoryError(len(items))

    def encode(self, outcome: Outcome[str]) -> bytes:
        is_good = isinstance(outcome, Success)
        return json.dumps({"sentence": "", "other": 200 if is_good else 409}).encode()


class Enhancer(Recogniser):
    """Answers as speech enhancement does."""

    def encode(self, outcome: Outcome[str]) -> bytes:
        is_good = isinstance(outcome, Success)
        return json.dumps({"status": 200 if is_good else 409, "message": "", "data": None}).encode()


async def test_a_failed_request_is_answered_in_the_shape_of_its_own_service(
    autojump_clock: MockClock,
) -> None:
    async with served(Recogniser) as asr, served(Enhancer) as enhancement:
        assert json.loads((await asr.call(b"x")).body) == {"sentence": "", "other": 409}
        assert json.loads((await enhancement.call(b"x")).body) == {"status": 409, "message": "", "data": None}


@pytest.mark.parametrize("size", [1, 7, 10, 32, 100])
async def test_the_batch_size_that_is_set_is_the_one_that_is_used(
    size: int, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, *(b"good %d" % number for number in range(3 * size)))
    async with working(Shouting(), broker, batching=FixedPolicy(size, max_wait=1.0)) as running:
        await running.until_settled(3 * size)
    assert running.sizes == [size] * 3
    assert {batch.trigger for batch in running.batches} == {Trigger.SIZE}


async def test_no_batch_waits_that_is_full_or_has_waited_or_was_not_told_to_wait(
    autojump_clock: MockClock,
) -> None:
    async def round_trip(client: RpcClient) -> None:
        await client.call(b"good 1", queue=QUEUE)

    async def duration(callers: int, policy: FixedPolicy) -> float:
        broker = MemoryBroker()
        async with (
            working(Shouting(), broker, batching=policy, service_time=lambda _: 0.25),
            open_client(broker) as client,
        ):
            started = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(callers):
                    nursery.start_soon(round_trip, client)
            return trio.current_time() - started

    assert await duration(1, FixedPolicy(4)) == 0.25
    assert await duration(4, FixedPolicy(4, max_wait=0.5)) == 0.25
    assert await duration(8, FixedPolicy(4, max_wait=0.5)) == 0.25 + 0.25, (
        "the second batch has served its wait"
    )
    assert await duration(3, FixedPolicy(4, max_wait=0.5)) == 0.5 + 0.25


async def test_what_was_delivered_before_a_reconnect_is_never_acked_after_it(
    autojump_clock: MockClock,
) -> None:
    broker, bodies = MemoryBroker(), [b"good %d" % number for number in range(20)]
    journal = Journal(broker)
    ask(broker, *bodies)
    async with working(
        Shouting(), journal, batching=FixedPolicy(4), service_time=lambda _: 1.0, instruments=[journal]
    ) as running:
        for _ in range(4):
            await trio.sleep(1.5)
            broker.disconnect()
        await running.until_settled(20)
    assert {session for session, _ in journal.acked} > {1}
    check_books(broker, [journal], bodies)


class Steps(trio.abc.Instrument):
    """Counts how often any task runs."""

    count = 0

    def before_task_step(self, _: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_an_idle_worker_never_wakes_up(autojump_clock: MockClock) -> None:
    steps = Steps()
    async with working(Shouting(), MemoryBroker(), batching=FixedPolicy(32, max_wait=0.1), executors=4):
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(24 * 3600)
        trio.lowlevel.remove_instrument(steps)
    assert steps.count <= 1, "this task itself"


async def test_the_prefetch_lets_full_batches_form_while_others_are_computed(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, executors=2, service_time=lambda _: 1.0) as running:
        ask(broker, *(b"good %d" % number for number in range(32 * 5)))
        await running.until_settled(32 * 5)
    assert running.sizes.count(32) >= 4


async def test_a_full_pipeline_keeps_nobody_from_noticing_a_lost_connection(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, *(b"good %d" % number for number in range(1000)))
    async with working(Shouting(), broker, service_time=lambda _: 100.0, drain_timeout=1000.0) as running:
        await trio.sleep(50)
        broker.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        assert len(running.lost_sessions) == 1


class Watched:
    """A transport that notes from which threads it is used."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.threads: list[int] = []

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        async with self._broker.open_session(topology, prefetch=prefetch) as session:
            settle = session.settle

            async def watched(answers: Sequence[Answer]) -> list[Settled]:
                self.threads.append(threading.get_ident())
                return await settle(answers)

            session.settle = watched  # type: ignore[method-assign] # watched, and called as it was
            yield session

    def open_caller(self) -> AbstractAsyncContextManager[CallerSession]:
        return self._broker.open_caller()


async def test_the_transport_is_used_from_one_thread_however_many_compute() -> None:
    broker = MemoryBroker()
    transport = Watched(broker)
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(
            lambda **kwargs: serve(Shouting(), transport, QUEUE, replicas=3, **kwargs)
        )
        async with open_client(broker) as client, trio.open_nursery() as calls:
            for number in range(20):
                calls.start_soon(lambda body: client.call(body, queue=QUEUE), b"good %d" % number)
        worker.drain()
    assert set(transport.threads) == {threading.get_ident()}
