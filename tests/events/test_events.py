from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rpcb_trio import FixedPolicy, MemoryBroker
from rpcb_trio._messages import Notice
from rpcb_trio._transports import NoticePublisher
from rpcb_trio.batching import Trigger
from rpcb_trio.errors import SessionLost
from rpcb_trio.events import BatchEvent, EventInstrument, StateEvent
from rpcb_trio.instruments import Condition
from tests.events.watching import seeing, state, telling
from tests.scenarios import Shouting, answers, ask


class Faulty(MemoryBroker):
    """A broker whose publishers do as they are told."""

    def __init__(self, *ways: str) -> None:
        super().__init__()
        self._ways = list(ways)
        self.published: list[Notice] = []
        self.opened: list[float] = []

    @asynccontextmanager
    async def open_publisher(self, exchange: str) -> AsyncIterator[NoticePublisher]:  # noqa: ARG002 - it has but one
        await trio.lowlevel.checkpoint()
        self.opened.append(trio.current_time())
        way = self._ways.pop(0) if self._ways else "fine"
        if way == "refused":
            raise SessionLost("connection refused")
        yield FaultyPublisher(way, self.published)


class FaultyPublisher:
    def __init__(self, way: str, published: list[Notice]) -> None:
        self._way = way
        self._published = published

    async def publish(self, notices: Sequence[Notice]) -> None:
        await trio.lowlevel.checkpoint()
        if self._way == "stuck":
            await trio.sleep_forever()
        if self._way == "breaking":
            raise SessionLost("connection reset")
        if self._way == "faulty":
            raise KeyError("a fault of our own")
        self._published += notices


async def test_a_settled_batch_is_published_with_its_waits_its_times_and_its_failures(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with (
        seeing(broker) as seen,
        telling(Shouting(), broker, service_time=lambda _: 0.2, batching=FixedPolicy(3, max_wait=1.0)),
    ):
        ask(broker, b"good 1", b"sick 2")
        await trio.sleep(0.5)
        ask(broker, b"good 3", b"good 4")
        [batch, _] = await seen.until(BatchEvent, 2)
    assert (batch.worker, batch.queue, batch.pid) == ("asr", "work", os.getpid())
    assert (batch.size, batch.trigger, batch.failed, batch.waiting) == (3, Trigger.SIZE, 1, 1)
    assert batch.waits_ms == pytest.approx([500, 500, 0])
    assert (batch.wait_mean_ms, batch.wait_max_ms) == pytest.approx((1000 / 3, 500), abs=0.001)
    assert (batch.service_ms, batch.total_ms) == pytest.approx((200, 700))
    assert batch.predicted_ms is None
    assert batch.routing_key == f"worker.work.{batch.host}-{batch.pid}.batch"


async def test_a_state_is_published_each_second_and_at_each_change_until_the_worker_has_stopped(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with seeing(broker) as seen:
        async with telling(Shouting(), broker, batching=FixedPolicy(4, max_wait=0.1)):
            ask(broker, b"good 1", b"sick 2")
            await trio.sleep(2.5)
        await wait_all_tasks_blocked()
        states = seen.of(StateEvent)
    conditions = [state.condition for state in states]
    assert conditions[:2] == [Condition.WARMING_UP, Condition.CONSUMING]
    assert conditions.count(Condition.CONSUMING) == 3
    assert conditions[-2:] == [Condition.DRAINING, Condition.STOPPED]
    last = states[-1]
    assert (last.received, last.answered, last.failed, last.batches) == (2, 1, 1, 1)
    assert (last.waiting, last.held, last.dropped) == (0, 0, 0)
    assert (last.policy, last.max_batch_size, last.executors) == ("FixedPolicy", 4, 1)


async def test_of_a_large_batch_some_of_the_waits_are_published_from_first_to_last(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    policy = FixedPolicy(100, max_wait=99)
    async with seeing(broker) as seen, telling(Shouting(), broker, batching=policy):
        for number in range(100):
            ask(broker, b"good %d" % number)
            await trio.sleep(0.01)
        [batch] = await seen.until(BatchEvent)
    assert len(batch.waits_ms) <= 32
    assert batch.waits_ms[0] == pytest.approx(990)
    assert list(batch.waits_ms) == sorted(batch.waits_ms, reverse=True)


async def test_a_publisher_that_is_stuck_holds_up_no_request_and_what_finds_no_room_is_counted(
    autojump_clock: MockClock,
) -> None:
    broker, events = Faulty("stuck"), EventInstrument(buffer=100)
    async with telling(Shouting(), broker, events, batching=FixedPolicy(1)):
        ask(broker, *(b"good %d" % number for number in range(2000)))
        await trio.sleep(1)
        assert len(answers(broker)) == 2000
        assert events.buffer.dropped > 1800


async def test_of_more_batches_than_can_be_published_some_are_dropped_and_no_state(
    autojump_clock: MockClock,
) -> None:
    broker, events = MemoryBroker(), EventInstrument(buffer=10)
    async with seeing(broker) as seen, telling(Shouting(), broker, events, batching=FixedPolicy(1)):
        for _ in range(20):
            ask(broker, *(b"good %d" % number for number in range(100)))
            await trio.sleep(0.25)
            assert len(answers(broker)) == 100
        states, batches = seen.of(StateEvent), seen.of(BatchEvent)
    assert len(states) >= 6  # two to begin with, and one each second
    assert states[-1].answered >= 1600
    assert 200 <= len(batches) < 600
    assert events.buffer.dropped == 2000 - len(batches)


async def test_events_that_wait_for_too_long_are_dropped_and_counted(autojump_clock: MockClock) -> None:
    events = EventInstrument(buffer=4)
    for number in range(6):
        events.buffer.put(state(number))
    assert events.buffer.dropped == 2
    await trio.sleep(4)
    events.buffer.put(state(6))
    await trio.sleep(2)
    assert await events.buffer.take() == [state(6)]
    assert events.buffer.dropped == 6


async def test_a_lost_publisher_is_opened_again_with_one_line_and_the_lost_events_are_counted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Faulty("breaking", "refused", "refused", "fine")
    async with telling(Shouting(), broker):
        with caplog.at_level(logging.WARNING):
            await trio.sleep(10)
    lines = [record.getMessage() for record in caplog.records if "events:" in record.getMessage()]
    assert len(lines) == 1
    assert "connection reset" in lines[0]
    assert len(broker.opened) == 4
    last = msgspec.json.decode(broker.published[-1].body, type=StateEvent)
    assert (last.condition, last.dropped > 0) == (Condition.STOPPED, True)


async def test_an_internal_error_in_publishing_ends_that_and_not_the_work(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Faulty("faulty")
    async with telling(Shouting(), broker):
        await trio.sleep(3)
        ask(broker, b"good 1")
        await trio.sleep(1)
        assert len(answers(broker)) == 1
    assert [record.levelname for record in caplog.records if "an internal error" in record.message] == [
        "ERROR"
    ]


async def test_a_worker_does_not_start_where_events_can_not_be_published_at_all(
    autojump_clock: MockClock,
) -> None:
    broker = Faulty("refused")
    with pytest.raises(SessionLost):
        async with telling(Shouting(), broker):
            pytest.fail("it started")


async def test_an_end_waits_but_a_second_for_a_publisher_that_is_stuck(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    async with telling(Shouting(), Faulty("stuck")):
        pass
    assert trio.current_time() - began == pytest.approx(1)
