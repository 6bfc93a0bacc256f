"""Several workers on one queue hold to late binding together: in simulation, and in a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from random import Random
from statistics import fmean
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, FixedPolicy, MemoryBroker, Request, SettingError, Topology
from rpcb_trio._batching import Consume, Found, Intake, Learned, Look, Prefetching
from rpcb_trio._transports._memory._sessions import MemorySession
from rpcb_trio.batching import Batch, Pending, Shares, Trigger
from rpcb_trio.simulation import (
    Arrival,
    Law,
    Load,
    LockStep,
    OpenLoad,
    SimulatedWorker,
    linear,
    poisson,
    simulate_fleet,
)
from tests.scenarios import QUEUE, Shouting, ask, working

FAST, SLOW = linear(0.150, 0.025), linear(0.600, 0.100)
SIZE = 32
FULL = 2 * SIZE
DELAY = 0.0005
CAPACITY = SIZE / (0.150 + 0.025 * SIZE)
"""Requests a second of a fast worker in full batches."""


def open_load(rate: float, seed: int, requests: int = 1000) -> OpenLoad:
    times = islice(poisson(rate, Random(seed)), requests)  # noqa: S311 - no secret
    return OpenLoad(map(Arrival, times))


def latency(laws: Sequence[Law], load: Load, *, executors: int = 1, prefetch: int | None = None) -> float:
    """The mean of a fleet with a worker for each law."""
    workers = [SimulatedWorker(AutoPolicy(SIZE), law, executors, prefetch) for law in laws]
    return simulate_fleet(workers, load, delay=DELAY).mean_latency


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_two_equal_workers_answer_nearly_as_soon_as_one_with_two_executors(load: float) -> None:
    arrivals = [open_load(load * 2 * CAPACITY, seed) for seed in range(2)]
    fleet = fmean(latency([FAST, FAST], each) for each in arrivals)
    one_line = fmean(latency([FAST], each, executors=2, prefetch=3 * SIZE) for each in arrivals)
    assert fleet <= 1.10 * one_line


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.7])
def test_a_worker_four_times_slower_does_not_hoard_what_the_other_would_do_sooner(load: float) -> None:
    arrivals = open_load(load * 1.25 * CAPACITY, seed=1)
    follows, hoards = latency([FAST, SLOW], arrivals), latency([FAST, SLOW], arrivals, prefetch=FULL)
    assert follows <= 0.5 * hoards


@pytest.mark.parametrize("callers", [16, 20, 24, 30, 40])
def test_callers_in_lock_step_with_two_workers_form_two_groups(callers: int) -> None:
    workers = [SimulatedWorker(AutoPolicy(SIZE), FAST) for _ in range(2)]
    found = simulate_fleet(workers, LockStep(callers, lambda: 0.001, 2000), delay=DELAY)
    settled = found.requests[1000:]
    last = max(each.finished or 0.0 for each in settled)
    rate = len(settled) / (last - settled[0].arrival.at)
    ideal = callers / (0.150 + 0.025 * callers / 2)
    assert rate >= ideal / 1.10


@given(
    laws=st.lists(st.sampled_from([FAST, SLOW, linear(0.001, 0.0)]), min_size=1, max_size=3),
    executors=st.integers(1, 3),
    delay=st.sampled_from([0.0001, 0.002, 0.05]),
    callers=st.integers(1, 40),
    seed=st.integers(0, 100),
)
@settings(max_examples=25)
def test_whatever_the_fleet_every_request_is_served_once(
    laws: list[Law], executors: int, delay: float, callers: int, seed: int
) -> None:
    workers = [SimulatedWorker(AutoPolicy(SIZE), law, executors) for law in laws]
    dice = Random(seed)  # noqa: S311 - no secret
    load = LockStep(callers, lambda: dice.expovariate(10), 100)
    found = simulate_fleet(workers, load, delay=delay)
    assert len(found.latencies) == len(found.requests) == 100
    assert sum(batch.size for batch in found.batches) == 100


def test_a_fleet_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(SettingError, match="a fleet needs a worker"):
        simulate_fleet([], OpenLoad(()))


class Rule:
    """The rule of a worker with one executor, whose batches take `seconds`, and a broker that answers."""

    def __init__(self, seconds: float, trip: float, *, is_set: bool = False) -> None:
        self.held = self.waiting = self.room = 0
        self.consumed = list[Consume]()
        self.looks = 0
        self._seconds, self._trip, self._now = seconds, trip, 0.0
        self._policy = AutoPolicy(SIZE)
        self._rule = Prefetching(
            Intake(lambda: self.held, lambda: self.waiting, lambda _: self.room),
            lambda: self._policy,
            executors=1,
            most=FULL,
            is_set=is_set,
            begun=FULL,
            learned=Learned(),
        )
        self._numbers = iter(range(1000))

    def compute(self, size: int) -> None:
        requests = [Request(body=b"", arrived=self._now, tag=n) for n in range(size)]
        members = tuple(Pending(each, None, 1.0, ready=self._now) for each in requests)
        batch = Batch(
            id=next(self._numbers), members=members, trigger=Trigger.IDLE, closed=self._now, predicted=None
        )
        if self._rule.closed(batch, self._now):
            self.look()
        self._now += self._seconds
        if self._rule.completed(batch, self._seconds, self._now):
            self.look()

    def look(self, ready: int = 0) -> None:
        steps, found = self._rule.look(self._now), None
        try:
            while True:
                step = steps.send(found)
                found = None
                if isinstance(step, Look):
                    self.looks += 1
                    found = Found(ready, consumers=2)
                else:
                    self.consumed.append(step)
                    self.room = step.prefetch
                self._now += self._trip
                self._rule.took(step, self._trip, self._now)
        except StopIteration:
            return


def test_a_fast_model_has_the_whole_prefetch_for_good_and_asks_the_broker_nothing_more() -> None:
    rule = Rule(seconds=0.002, trip=0.001)
    for _ in range(10):
        rule.compute(SIZE)
    looks, consumed = rule.looks, list(rule.consumed)
    for _ in range(100):
        rule.compute(SIZE)
    assert consumed[-1] == Consume(FULL, 0)
    assert (rule.looks, rule.consumed) == (looks, consumed)


def test_a_prefetch_that_does_not_follow_is_never_changed_and_the_broker_never_asked() -> None:
    rule = Rule(seconds=1.0, trip=0.001, is_set=True)
    for size in (1, SIZE, 3):
        rule.compute(size)
    rule.look(ready=10)
    assert (rule.looks, rule.consumed) == (0, [])


def test_a_worker_that_computes_has_no_room_and_an_idle_one_has_it_for_what_waits() -> None:
    rule = Rule(seconds=1.0, trip=0.001)
    rule.look(ready=7)
    assert rule.consumed[-1].prefetch == 7
    rule.compute(4)
    assert [each.prefetch for each in rule.consumed[1:]] == [0, 4]


async def test_what_comes_while_a_worker_computes_goes_to_one_that_is_idle(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with (
        working(Shouting(), broker, service_time=lambda _: 10.0) as slow,
        working(Shouting(), broker, service_time=lambda _: 1.0) as fast,
    ):
        await trio.sleep(2)  # after the start of both
        ask(broker, b"good 1", b"good 2")
        for number in range(3, 7):
            await trio.sleep(2)
            ask(broker, b"good %d" % number)
        await trio.sleep(1.5)
        assert (len(slow.settled), len(fast.settled)) == (0, 5)


def note_changes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each prefetch that a worker's consumer is changed to from now on."""
    changed, reconsume = list[int](), MemorySession.reconsume

    async def reconsume_and_note(session: MemorySession, *, prefetch: int, priority: int = 0) -> None:
        changed.append(prefetch)
        await reconsume(session, prefetch=prefetch, priority=priority)

    monkeypatch.setattr(MemorySession, "reconsume", reconsume_and_note)
    return changed


async def serve_forty(topology: Topology, *, workers: int, **settings: Any) -> None:
    """40 requests, by workers that are alike; they come one after the other."""
    broker = MemoryBroker()
    async with AsyncExitStack() as stack:
        fleet = [
            await stack.enter_async_context(
                working(Shouting(), broker, queue=topology, service_time=lambda _: 1.0, **settings)
            )
            for _ in range(workers)
        ]
        for number in range(40):
            broker.publish(b"good %d" % number, routing_key=topology.queue)
            await trio.sleep(0.1)
        await trio.sleep(60)
        assert sum(len(each.settled) for each in fleet) == 40


async def test_a_prefetch_follows_by_itself_while_others_consume_the_queue(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = note_changes(monkeypatch)
    await serve_forty(Topology(queue=QUEUE), workers=2)
    assert 0 in changed


@pytest.mark.parametrize(
    ("workers", "settings"),
    [
        (1, {}),
        (2, {"prefetch_follows": False}),
        (2, {"max_pending": FULL}),
        (2, {"shares": Shares()}),
        (2, {"batching": FixedPolicy(SIZE)}),
    ],
    ids=["alone", "off", "max_pending", "shares", "fixed"],
)
async def test_a_consumer_stays_as_it_is_where_its_prefetch_does_not_follow(
    workers: int, settings: dict[str, Any], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = note_changes(monkeypatch)
    await serve_forty(Topology(queue=QUEUE), workers=workers, **settings)
    assert changed == []


async def test_a_worker_that_the_others_have_left_has_the_whole_prefetch_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, changed = MemoryBroker(), note_changes(monkeypatch)
    async with working(Shouting(), broker, service_time=lambda _: 1.0) as stays:
        async with working(Shouting(), broker, service_time=lambda _: 1.0):
            for number in range(20):
                ask(broker, b"good %d" % number)
                await trio.sleep(0.5)
        assert 0 in changed
        await trio.sleep(120)
        ask(broker, b"good 20", b"good 21")
        await trio.sleep(5)
        assert changed[-1] == FULL
        assert {b"good 20", b"good 21"} <= {answer.request.body for answer, _ in stays.settled}


async def test_a_single_active_consumer_stays_the_one_that_it_is(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology = Topology(queue=QUEUE, arguments={"x-single-active-consumer": True})
    changed = note_changes(monkeypatch)
    await serve_forty(topology, workers=2)
    assert changed == []


@asynccontextmanager
async def company(broker: MemoryBroker) -> AsyncIterator[None]:
    """Another consumer, which has no room."""
    async with broker.open_session(Topology(queue=QUEUE), prefetch=1) as session:
        ask(broker, b"good 0")
        await session.requests.receive()
        yield


async def test_a_prefetch_begins_and_ceases_to_follow_while_requests_are_served(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, changed = MemoryBroker(), note_changes(monkeypatch)
    async with (
        company(broker),
        working(Shouting(), broker, service_time=lambda _: 1.0) as running,
    ):
        for follows in (True, False, True):
            changed.clear()
            await running.worker.change(prefetch_follows=follows)
            ask(broker, *(b"good %d" % n for n in range(40)))
            await trio.sleep(10)
            assert (0 in changed) if follows else (changed == [FULL]), "no room meanwhile, or all"
        assert len(running.settled) == 120


async def test_a_worker_whose_replies_were_blocked_asks_for_more_once_they_are_settled(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with (
        company(broker),
        working(Shouting(), broker, batching=AutoPolicy(8), service_time=lambda _: 1.0) as running,
    ):
        ask(broker, b"good 1", b"good 2", b"good 3")
        await trio.sleep(0.5)
        broker.block("memory")
        await running.worker.change(batching=AutoPolicy(1))  # more is held than may be from now on
        await trio.sleep(20)
        ask(broker, b"good 4")
        broker.unblock()
        await running.until_settled(4)
        assert trio.current_time() < 30
