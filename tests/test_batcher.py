"""The batcher: first an executor is idle, then the batch is closed; and nobody waits for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, Request
from rpcb_trio._batching import Batcher
from rpcb_trio.batching import Batch, Decision, Pending, Trigger
from rpcb_trio.errors import OutcomeError
from tests.scenarios import Stubborn


class Rig:
    """A batcher under test, with the ends of its channels that the other stages would hold."""

    def __init__(
        self, arrivals: trio.MemorySendChannel[Sequence[Pending]], batches: trio.MemoryReceiveChannel[Batch]
    ) -> None:
        self._arrivals = arrivals
        self.batches = batches
        self.idle = trio.Semaphore(0)
        self.expired: list[Pending] = []
        self.backlog: Callable[[], int] = int
        self.no_more_come = arrivals.close

    def arrive(
        self, count: int = 1, *, after: float = 0.0, lives: float | None = None, suspect: bool = False
    ) -> list[Pending]:
        now = trio.current_time() + after
        deadline = None if lives is None else now + lives
        requests = [Request(body=b"", arrived=now, deadline=deadline) for _ in range(count)]
        came = [Pending(each, item=None, suspect=suspect) for each in requests]
        self._arrivals.send_nowait(came)
        return came

    async def ask(self) -> Batch:
        """Be an idle executor."""
        self.idle.release()
        return await self.batches.receive()


@asynccontextmanager
async def batching(policy: FixedPolicy, *, executors: int = 1) -> AsyncIterator[Rig]:
    send_pending, pending = trio.open_memory_channel[Sequence[Pending]](100)
    send_batches, batches = trio.open_memory_channel[Batch](executors)
    rig = Rig(send_pending, batches)

    def refuse(late: Pending, _: OutcomeError) -> None:
        rig.expired.append(late)

    async with trio.open_nursery() as nursery:
        batcher = Batcher(
            pending,
            send_batches,
            idle=rig.idle,
            policy=policy,
            refuse=refuse,
        )
        rig.backlog = lambda: batcher.backlog
        nursery.start_soon(batcher.run)
        with send_pending, batches:
            yield rig
        nursery.cancel_scope.cancel()


async def test_the_backlog_counts_requests_whether_they_came_at_once_or_not(
    autojump_clock: MockClock,
) -> None:
    async with batching(FixedPolicy(4)) as rig:
        rig.arrive(3)
        rig.arrive(1)
        assert rig.backlog() == 4
        rig.arrive(2)
        assert rig.backlog() == 6
        assert (await rig.ask()).size == 4
        assert rig.backlog() == 2


async def test_what_came_at_once_is_taken_in_order_and_by_as_many_batches_as_it_needs(
    autojump_clock: MockClock,
) -> None:
    async with batching(FixedPolicy(4)) as rig:
        came = rig.arrive(10)
        batches = [await rig.ask() for _ in range(3)]
        assert [batch.size for batch in batches] == [4, 4, 2]
        assert [member for batch in batches for member in batch.members] == came


async def test_no_batch_is_closed_while_no_executor_is_idle(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4)) as rig:
        rig.arrive(3)
        await trio.sleep(10)
        with pytest.raises(trio.WouldBlock):
            rig.batches.receive_nowait()
        rig.arrive(1)  # so late a request still gets into the batch
        assert (await rig.ask()).size == 4


async def test_the_wait_is_counted_from_the_oldest_requests_arrival(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4, max_wait=1.0)) as rig:
        rig.arrive()
        await trio.sleep(0.75)
        rig.arrive()
        batch = await rig.ask()
        assert batch.waits == (1.0, 0.25)
        assert batch.trigger is Trigger.WAIT


async def test_a_wait_that_was_served_is_not_served_again(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4, max_wait=1.0)) as rig:
        rig.arrive()
        await trio.sleep(5)
        rig.arrive()
        assert (await rig.ask()).waits == (5.0, 0.0)


async def test_what_is_already_here_is_taken_even_when_the_wait_is_long_over(
    autojump_clock: MockClock,
) -> None:
    async with batching(FixedPolicy(32, max_wait=1.0)) as rig:
        rig.arrive(1)
        await trio.sleep(100)
        rig.arrive(31)
        batch = await rig.ask()
        assert (batch.size, batch.trigger) == (32, Trigger.SIZE)


async def test_without_a_wait_an_idle_executor_starts_at_once(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4)) as rig, trio.open_nursery() as nursery:

        async def arrive_later() -> None:
            await trio.sleep(3)
            rig.arrive()

        nursery.start_soon(arrive_later)
        assert (await rig.ask()).waits == (0.0,)


async def test_a_batch_that_fills_up_is_closed_before_its_wait_is_over(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(3, max_wait=60.0)) as rig, trio.open_nursery() as nursery:

        async def trickle() -> None:
            for _ in range(3):
                rig.arrive()
                await trio.sleep(1)

        nursery.start_soon(trickle)
        batch = await rig.ask()
        assert (batch.trigger, batch.waits) == (Trigger.SIZE, (2.0, 1.0, 0.0))


async def test_a_partial_batch_is_flushed_as_soon_as_no_more_come(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4, max_wait=60.0)) as rig:
        rig.arrive(5)
        assert (await rig.ask()).trigger is Trigger.SIZE
        rig.no_more_come()
        last = await rig.ask()
        assert (last.size, last.trigger, last.waits) == (1, Trigger.FLUSH, (0.0,))


async def test_a_policy_that_holds_though_no_more_come_delays_the_end_and_hangs_nothing(
    autojump_clock: MockClock,
) -> None:
    async with batching(Stubborn(4, max_wait=60.0)) as rig:
        rig.arrive(1)
        rig.no_more_come()
        assert (await rig.ask()).waits == (60.0,)
        with pytest.raises(trio.EndOfChannel):
            await rig.ask()


async def test_the_executors_are_told_when_nothing_is_left(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4), executors=2) as rig:
        rig.arrive(1)
        rig.no_more_come()
        assert (await rig.ask()).size == 1
        with pytest.raises(trio.EndOfChannel):
            await rig.ask()


async def test_each_idle_executor_gets_a_batch_of_its_own(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(2), executors=3) as rig:
        for _ in range(3):
            rig.idle.release()
        rig.arrive(6)
        batches = [await rig.batches.receive() for _ in range(3)]
        members = [member for batch in batches for member in batch.members]
        assert [batch.size for batch in batches] == [2, 2, 2]
        assert len(set(members)) == 6
        assert len({batch.id for batch in batches}) == 3


class CountingIdle(FixedPolicy):
    """Keeps how many other executors were idle at each decision."""

    def __init__(self, max_batch_size: int) -> None:
        super().__init__(max_batch_size)
        self.others = list[int]()

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        self.others.append(others_idle)
        return super().decide(pending, now, final=final, others_idle=others_idle)


async def test_a_policy_is_told_how_many_other_executors_are_idle(autojump_clock: MockClock) -> None:
    policy = CountingIdle(2)
    async with batching(policy, executors=3) as rig:
        for _ in range(3):
            rig.idle.release()
        rig.arrive(6)
        for _ in range(3):
            await rig.batches.receive()
    assert policy.others == [2, 1, 0]


async def test_a_request_that_expires_while_it_is_held_leaves_then(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4, max_wait=60.0)) as rig:
        rig.arrive(1)
        rig.arrive(1, lives=5.0)
        rig.idle.release()
        await trio.sleep(4.9)
        assert not rig.expired
        await trio.sleep(0.2)
        assert len(rig.expired) == 1
        assert (await rig.batches.receive()).waits == (60.0,)


async def test_a_request_that_expired_while_no_executor_was_idle_is_not_computed(
    autojump_clock: MockClock,
) -> None:
    async with batching(FixedPolicy(4)) as rig:
        rig.arrive(2, lives=1.0)
        rig.arrive(1)
        await trio.sleep(2)
        assert (await rig.ask()).size == 1
        assert len(rig.expired) == 2


async def test_a_suspect_in_the_middle_divides_the_batches(autojump_clock: MockClock) -> None:
    async with batching(FixedPolicy(4)) as rig:
        rig.arrive(2)
        rig.arrive(1, suspect=True)
        rig.arrive(2)
        triggers = [
            (batch.size, batch.trigger) for batch in [await rig.ask(), await rig.ask(), await rig.ask()]
        ]
        assert triggers == [(2, Trigger.WAIT), (1, Trigger.ALONE), (2, Trigger.WAIT)]


async def test_a_request_that_was_long_in_decoding_has_waited_since_its_arrival(
    autojump_clock: MockClock,
) -> None:
    async with batching(FixedPolicy(4, max_wait=1.0)) as rig:
        await trio.sleep(0.75)
        rig.arrive()
        rig.arrive(after=-0.75)  # it came first, and was overtaken
        batch = await rig.ask()
        assert batch.waits == (1.0, 0.25)
