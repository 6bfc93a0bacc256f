"""Who is one too many is told so at once, and nobody else notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, Topology
from rpcb_trio.batching import Decision, Pending
from rpcb_trio.instruments import Settled
from tests.scenarios import QUEUE, Shouting, answers, ask, steady, working

T = TypeVar("T")


def crowd(*numbers: int) -> list[bytes]:
    return [b"crowd %d" % number for number in numbers]


def computed(*numbers: int) -> dict[str, bytes]:
    return {f"{number}": b"ok:CROWD %d" % number for number in numbers}


def refused(*numbers: int) -> dict[str, bytes]:
    return {f"{number}": b"failed:overloaded" for number in numbers}


class Counting(Shouting):
    """Knows what it has decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded: list[str] = []

    def decode(self, body: bytes) -> str:
        self.decoded.append(super().decode(body))
        return self.decoded[-1]


async def test_who_is_one_too_many_is_refused_at_once_and_never_decoded(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Counting()
    ask(broker, *crowd(0))
    async with working(
        service, broker, batching=FixedPolicy(2), max_pending=4, service_time=lambda _: 10.0
    ) as running:
        await trio.sleep(1)
        ask(broker, *crowd(1, 2, 3, 4, 5, 6))
        await trio.sleep(1)
        assert answers(broker) == refused(5, 6)
        assert running.worker.held == 5
    assert answers(broker) == computed(0, 1, 2, 3, 4)
    assert sorted(service.decoded) == [f"crowd {number}" for number in range(5)]
    assert running.sizes == [1, 2, 2]
    assert running.endings == {Settled.REPLIED: 7}
    assert [error.code for _, error in running.failures] == ["overloaded"] * 2


async def test_those_who_come_once_there_is_room_again_are_served(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *crowd(0))
    async with working(
        Shouting(), broker, batching=FixedPolicy(2), max_pending=2, service_time=lambda _: 10.0
    ):
        await trio.sleep(1)
        ask(broker, *crowd(1, 2, 3))
        await trio.sleep(10)
        ask(broker, *crowd(4))
    assert answers(broker) == computed(0, 1, 2, 4) | refused(3)


def echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


async def test_a_burst_is_not_refused_what_an_idle_executor_can_take(autojump_clock: MockClock) -> None:
    """They all come before the batcher has a turn."""
    broker = MemoryBroker()
    policy = FixedPolicy(4, max_wait=0.125)
    async with working(
        echo, broker, executors=2, batching=policy, max_pending=4, service_time=lambda _: 10.0
    ) as running:
        await trio.sleep(1)
        ask(broker, *crowd(*range(13)))
        await trio.sleep(1)
        assert answers(broker) == {"12": b"overloaded: 4 requests wait already (max_pending)"}
    assert running.sizes == [4, 4, 4]


async def slowly(function: Callable[[], T]) -> T:
    await trio.sleep(0.25)
    return function()


async def test_those_being_decoded_count_as_waiting(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *crowd(0))
    async with working(
        Shouting(),
        broker,
        batching=FixedPolicy(2),
        max_pending=3,
        offload=slowly,
        service_time=lambda _: 10.0,
    ):
        await trio.sleep(1)
        ask(broker, *crowd(1, 2, 3, 4))
    endings = Counter(body.split()[0] for body in answers(broker).values())
    assert endings == {b"ok:CROWD": 4, b"failed:overloaded": 1}


async def test_a_request_that_can_not_be_decoded_takes_nobodys_place(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *crowd(0))
    async with working(
        Shouting(), broker, batching=FixedPolicy(2), max_pending=2, service_time=lambda _: 10.0
    ):
        await trio.sleep(1)
        ask(broker, b"\xff 7", *crowd(1, 2))
    assert answers(broker) == computed(0, 1, 2) | {"7": b"failed:decode"}


async def test_what_was_held_when_the_session_was_lost_is_not_refused(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *crowd(0, 1))
    policy = FixedPolicy(2, max_wait=0.125)
    async with working(
        Shouting(), broker, batching=policy, max_pending=2, service_time=lambda _: 10.0
    ) as running:
        await trio.sleep(1)
        ask(broker, *crowd(2, 3))
        await trio.sleep(1)
        broker.disconnect()
        await running.until_settled(4)
        assert len(running.lost_sessions) == 1
    assert answers(broker) == computed(0, 1, 2, 3)
    assert running.sizes == [2, 2, 2]


@pytest.mark.parametrize("turns", range(8))
async def test_what_waited_to_be_admitted_when_the_session_was_lost_is_forgiven(
    turns: int, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with working(
        echo, broker, batching=FixedPolicy(2, max_wait=0.125), max_pending=2, service_time=lambda _: 10.0
    ) as running:
        await trio.sleep(1)
        ask(broker, *crowd(*range(5)))
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        broker.disconnect()
        await running.until_settled(5)
    assert "alone" not in {batch.trigger for batch in running.batches}


async def test_draining_answers_those_who_wait_and_those_who_are_refused(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *crowd(0))
    async with working(
        Shouting(), broker, batching=FixedPolicy(2), max_pending=2, service_time=lambda _: 10.0
    ) as running:
        await trio.sleep(1)
        ask(broker, *crowd(1, 2, 3))
        running.worker.drain()
    assert answers(broker) == computed(0, 1, 2) | refused(3)
    assert (running.worker.held, broker.depth(QUEUE)) == (0, 0)


async def test_a_suspect_is_admitted_and_runs_alone(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *crowd(0, 1, 2, 3))
    async with broker.open_session(Topology(queue=QUEUE), prefetch=10):
        pass
    async with working(
        Shouting(), broker, batching=FixedPolicy(1), max_pending=1, service_time=lambda _: 10.0
    ) as running:
        await running.until_settled(4)
    assert answers(broker) == computed(0, 1, 2, 3)
    assert {batch.trigger for batch in running.batches} == {"alone"}


class Watching(FixedPolicy):
    """Knows the most that were ever pending."""

    most = 0

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        self.most = max(self.most, len(pending))
        return super().decide(pending, now, final=final, others_idle=others_idle)


async def serve_all(
    arrivals: Sequence[int], size: int, spare: int, executors: int
) -> tuple[Watching, Counter[bytes]]:
    broker, policy = MemoryBroker(), Watching(size, max_wait=0.25)
    async with working(
        Shouting(),
        broker,
        batching=policy,
        executors=executors,
        max_pending=size + spare,
        offload=slowly,
        service_time=float,
        drain_timeout=1000.0,
    ) as running:
        for number, pause in enumerate(arrivals):
            await trio.sleep(pause / 4)
            ask(broker, *crowd(number))
        await running.until_settled(len(arrivals))
    replies = answers(broker)
    assert sorted(replies, key=str) == sorted(map(str, range(len(arrivals))))
    return policy, Counter(body.split()[0] for body in replies.values())


@steady
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3))
def test_pending_never_outgrows_its_bound_and_each_request_has_one_answer(
    arrivals: list[int], size: int, spare: int, executors: int
) -> None:
    policy, endings = trio.run(
        serve_all, arrivals, size, spare, executors, clock=MockClock(autojump_threshold=0)
    )
    assert policy.most <= size + spare
    assert endings.total() == endings[b"ok:CROWD"] + endings[b"failed:overloaded"] == len(arrivals)
