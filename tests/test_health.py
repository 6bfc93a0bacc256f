"""What a worker's health is said to be, at every turn of its life."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, HealthInstrument, Instrument, LogInstrument, MemoryBroker, RpcbError, serve
from rpcb_trio.errors import DrainTimeout, ExecutorHung, SessionLost
from rpcb_trio.instruments import Condition, Health, Setup
from rpcb_trio.testing import VirtualExecutor, in_place
from tests.scenarios import QUEUE, Shouting, UnsteadyTransport, answers, ask, steady, working


class SlowToWarm(VirtualExecutor):
    async def warm_up(self) -> None:
        await trio.sleep(30)


async def test_a_worker_is_not_ready_before_its_model_is_warm_and_it_consumes(
    autojump_clock: MockClock,
) -> None:
    health = HealthInstrument("asr")
    start = partial(
        serve,
        Shouting(),
        MemoryBroker(),
        QUEUE,
        executors=[SlowToWarm(Shouting().infer)],
        offload=in_place,
        instruments=[health],
    )
    conditions = [health.health.condition]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await trio.sleep(10)
        warming = health.health
        await trio.sleep(25)
        serving = health.health
        nursery.cancel_scope.cancel()
    assert (warming.worker, warming.condition, warming.seconds, warming.ready) == (
        "asr",
        Condition.WARMING_UP,
        10,
        False,
    )
    assert (serving.condition, serving.seconds, serving.ready) == (Condition.CONSUMING, 5, True)
    conditions.append(health.health.condition)
    assert conditions == [Condition.WARMING_UP, Condition.STOPPED]


async def test_while_the_broker_takes_no_replies_they_wait_no_more_than_the_prefetch_is_taken_and_all_come(
    autojump_clock: MockClock,
) -> None:
    broker, health = MemoryBroker(), HealthInstrument()
    async with working(
        Shouting(), broker, batching=FixedPolicy(2), prefetch=4, instruments=[health]
    ) as running:
        broker.block("low on disk")
        ask(broker, *(b"good %d" % n for n in range(10)))
        await trio.sleep(60)
        blocked, received, answered = health.health, len(running.received), answers(broker)
        broker.unblock()
        await running.until_settled(10)
        after = health.health
    assert (blocked.condition, blocked.reason, blocked.ready) == (Condition.BLOCKED, "low on disk", False)
    assert (received, answered) == (4, {})
    assert after.ready
    assert len(answers(broker)) == 10
    assert running.blockages == ["low on disk", None]


async def test_a_blockage_and_its_end_are_a_line_of_the_log_each(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    with caplog.at_level(logging.INFO, "rpcb_trio"):
        async with working(Shouting(), broker, instruments=[LogInstrument("asr")]):
            broker.block("low on memory")
            await trio.sleep(1)
            broker.unblock()
            await trio.sleep(1)
    told = [(record.levelname, record.message) for record in caplog.records]
    assert ("WARNING", "asr: blocked: the broker takes no replies (low on memory); they wait") in told
    assert ("INFO", "asr: the broker takes replies again") in told


async def test_a_session_that_opens_while_the_broker_is_blocked_says_so(autojump_clock: MockClock) -> None:
    broker, health = MemoryBroker(), HealthInstrument()
    async with working(Shouting(), broker, instruments=[health]):
        broker.block("low on memory")
        await trio.sleep(1)
        broker.disconnect()
        await trio.sleep(60)
        assert health.health.condition is Condition.BLOCKED
        broker.unblock()
        await trio.sleep(1)
        assert health.health.ready


class Attempts(Instrument):
    """Counts the failed attempts to reconnect, for who waits for so many."""

    def __init__(self) -> None:
        self.failed = trio.Semaphore(0)

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:  # noqa: ARG002 - the count
        self.failed.release()


async def test_a_worker_that_reconnects_says_since_when_and_why(autojump_clock: MockClock) -> None:
    broker, health = MemoryBroker(), HealthInstrument()
    transport, attempts = UnsteadyTransport(broker, refused=range(1, 8)), Attempts()
    async with working(Shouting(), transport, instruments=[health, attempts]):
        broker.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        lost = health.health
        for _ in range(6):
            await attempts.failed.acquire()
        still = health.health
        since = trio.current_time() - still.seconds
        await trio.sleep(600)
        back = health.health
    assert lost.condition is still.condition is Condition.RECONNECTING
    assert not still.ready
    assert still.reason == "connection refused"
    assert since == pytest.approx(0, abs=1)
    assert back.ready


async def test_a_worker_that_drains_is_not_ready_until_it_has_stopped_and_says_what_it_left(
    autojump_clock: MockClock,
) -> None:
    broker, health = MemoryBroker(), HealthInstrument()
    ask(broker, b"good 1", b"good 2")
    told: list[Health] = []

    async def drain() -> None:
        async with working(
            Shouting(), broker, service_time=lambda _: 100.0, drain_timeout=10, instruments=[health]
        ) as running:
            await trio.sleep(5)
            running.worker.drain()
            await trio.sleep(5)
            told.append(health.health)

    with pytest.raises(DrainTimeout):
        await drain()
    [draining] = told
    assert (draining.condition, draining.ready) == (Condition.DRAINING, False)
    assert (health.health.condition, health.health.reason) == (
        Condition.STOPPED,
        "2 request(s) left to be redelivered",
    )


SETUP = Setup(queue=QUEUE, policy="", max_batch_size=1, max_pending=None, prefetch=2, executors=1)
EVENTS: dict[str, Callable[[HealthInstrument], None]] = {
    "starting": lambda health: health.worker_starting(SETUP),
    "opened": lambda health: health.session_opened(QUEUE),
    "lost": lambda health: health.session_lost(SessionLost("gone"), 1.0),
    "blocked": lambda health: health.session_blocked("low on memory"),
    "unblocked": lambda health: health.session_unblocked(),
    "failed": lambda health: health.reconnect_failed(SessionLost("refused"), 1.0, 2),
    "draining": lambda health: health.drain_step("stop consuming"),
    "hung": lambda health: health.executor_hung(ExecutorHung(1.0), None),
    "stopped": lambda health: health.worker_stopped(0),
}


@steady
@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=8))
def test_whatever_happens_in_whatever_order_none_is_ready_but_who_has_a_session_that_takes_replies(
    events: list[str],
) -> None:
    async def live() -> bool:
        health = HealthInstrument()
        for event in events:
            EVENTS[event](health)
        return health.health.ready

    ends = {"draining", "hung", "stopped"}
    turns = [each for each in events if each in {"opened", "lost", "blocked", "failed"}]
    passed = bool(turns) and (turns[-1] == "opened" or was_unblocked(events))
    assert trio.run(live) == (passed and not ends & set(events))


def was_unblocked(events: list[str]) -> bool:
    """Whether the last that was said of the session is that its blockage has ended."""
    told = [each for each in events if each in {"opened", "lost", "blocked", "failed", "unblocked"}]
    while told and told[-1] == "unblocked":
        told.pop()
        if told and told[-1] == "blocked":
            return True
    return False
