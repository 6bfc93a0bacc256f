"""Batches that the device's memory can't hold: halved, learned from, and tried again only slowly."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import Failure, FixedPolicy, MemoryBroker, Outcome, Request, Success
from rpcb_trio._pipeline import Isolation
from rpcb_trio.batching import Ending, Pending
from rpcb_trio.errors import OutOfMemory
from rpcb_trio.testing import VirtualExecutor
from tests.scenarios import Running, answers, ask, steady, working


class Padding:
    """A model that pads to the longest; its memory holds so much. A body is a length and a name."""

    def __init__(self, memory: float) -> None:
        self.memory = memory

    def decode(self, body: bytes) -> tuple[float, bytes]:
        length, name = body.split()
        return float(length), name

    def cost(self, item: tuple[float, bytes]) -> float:
        return item[0]

    def infer(self, items: Sequence[tuple[float, bytes]]) -> list[bytes]:
        if len(items) * max(length for length, _ in items) > self.memory:
            raise OutOfMemory("CUDA out of memory")
        return [name for _, name in items]

    def encode(self, outcome: Outcome[bytes]) -> bytes:
        return outcome.error.code.encode() if isinstance(outcome, Failure) else outcome.value


async def served(
    lengths: Sequence[float], memory: float, max_batch_size: int
) -> tuple[MemoryBroker, Running]:
    """A backlog of requests of such lengths, answered; they are named 0, 1, 2, ..."""
    broker = MemoryBroker()
    ask(broker, *(b"%g %d" % (length, name) for name, length in enumerate(lengths)))
    policy = FixedPolicy(max_batch_size, max_wait=0.5)
    async with working(
        Padding(memory), broker, batching=policy, prefetch=1000, service_time=lambda _: 1.0
    ) as running:
        await running.until_settled(len(lengths))
    return broker, running


async def test_halves_are_tried_until_they_fit_and_every_request_gets_its_own_result(
    autojump_clock: MockClock,
) -> None:
    broker, running = await served([1.0] * 8, memory=2.0, max_batch_size=8)
    assert answers(broker) == {f"{name}": b"%d" % name for name in range(8)}
    [runs] = running.runs
    assert [(run.work.size, run.ending) for run in runs] == [
        (8, Ending.OUT_OF_MEMORY),
        (4, Ending.OUT_OF_MEMORY),
        (2, Ending.COMPUTED),
        (2, Ending.COMPUTED),
        (4, Ending.OUT_OF_MEMORY),
        (2, Ending.COMPUTED),
        (2, Ending.COMPUTED),
    ]
    assert running.service_times == [7.0]


async def test_a_request_that_does_not_fit_alone_fails_alone_with_its_code(autojump_clock: MockClock) -> None:
    broker, running = await served([1, 1, 9, 1, 2], memory=6.0, max_batch_size=5)
    assert answers(broker) == {"0": b"0", "1": b"1", "2": b"out-of-memory", "3": b"3", "4": b"4"}
    assert [(request.correlation_id, error.code) for request, error in running.failures] == [
        ("2", "out-of-memory")
    ]


@steady
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=12), memory=st.integers(1, 60))
def test_whatever_the_lengths_all_that_fit_alone_get_their_own_result_in_order(
    lengths: list[int], memory: int
) -> None:
    service = Padding(memory)
    members = [
        Pending(Request(body=b"", arrived=0.0), (float(length), b"%d" % name), float(length))
        for name, length in enumerate(lengths)
    ]
    isolation = Isolation(VirtualExecutor(service.infer))
    outcomes = trio.run(isolation.infer, members, clock=MockClock(autojump_threshold=0))
    for name, (outcome, length) in enumerate(zip(outcomes, lengths, strict=True)):
        if length <= memory:
            assert outcome == Success(b"%d" % name)
        else:
            assert isinstance(outcome, Failure)
            assert outcome.error.code == "out-of-memory"
    assert len(isolation.runs) <= 2 * len(lengths) - 1


async def test_after_a_failure_batches_are_half_as_large_and_each_sixteen_that_fit_let_them_grow_by_a_tenth(
    autojump_clock: MockClock,
) -> None:
    _, running = await served([1.0] * 581, memory=10.0, max_batch_size=16)
    # The caps are 8, 8.8, 9.68, 10.648, 11.7128; the two halves of the first batch are proofs of the first.
    assert running.sizes == [16] + 30 * [8] + 16 * [9] + 16 * [10] + [11, 5, 5]
    failed = [number for number, runs in enumerate(running.runs) if runs[0].ending is Ending.OUT_OF_MEMORY]
    assert failed == [0, 63], "nothing that can't be held is tried in between"


async def test_the_cap_holds_for_padded_work_so_long_requests_travel_with_fewer(
    autojump_clock: MockClock,
) -> None:
    lengths = [3.0, 1.0, 1.0, 2.0] * 20
    _, running = await served(lengths, memory=30.0, max_batch_size=16)
    works = [batch.work for batch in running.batches]
    assert works[0].padded == 48.0
    assert all(work.padded <= 24.0 for work in works[1:])
    assert {work.size for work in works[1:-1]} == {8}
