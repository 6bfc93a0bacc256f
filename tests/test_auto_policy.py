"""The policy that needs no tuning: who waits for whom, in the whole pipeline and in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from random import Random

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, FixedPolicy, RpcClient, open_client
from rpcb_trio.batching import Batch, Decision, Pending, Policy, Trigger
from rpcb_trio.simulation import LockStep, linear, simulate
from rpcb_trio.testing import Served, served

FIXED, EACH = 0.150, 0.025
LARGEST = 12


def seconds(size: int) -> float:
    return FIXED + EACH * size


def echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


class Callers:
    """Each sends its next request once it has thought about the last reply."""

    def __init__(self, worker: Served, *, way: str, think: float) -> None:
        self._worker = worker
        self._way = way
        self._think = think

    async def live(self, calls: int) -> None:
        """Be one of them."""
        async with self._client(is_new=self._way == "own addresses") as own:
            for _ in range(calls):
                async with self._client(is_new=self._way == "a new address each time") as new:
                    client = own if self._way == "own addresses" else new
                    await client.call(b"", queue="echo", timeout=30)
                await trio.sleep(self._think)

    def _client(self, *, is_new: bool) -> AbstractAsyncContextManager[RpcClient]:
        return open_client(self._worker.broker) if is_new else nullcontext(self._worker.client)


async def lock_step(
    *calls: int, way: str = "own addresses", think: float = 0.001, executors: int = 1
) -> Sequence[Batch]:
    """The batches of as many callers as there are numbers; each is how often that one calls."""
    policy = AutoPolicy(LARGEST)
    async with served(echo, service_time=seconds, batching=policy, executors=executors) as worker:
        callers = Callers(worker, way=way, think=think)
        async with trio.open_nursery() as nursery:
            for each in calls:
                nursery.start_soon(callers.live, each)
    return worker.recorder.batches


@pytest.mark.parametrize("think", [0.0, 0.0003, 0.001, 0.003])
@pytest.mark.parametrize("way", ["own addresses", "one address for all", "a new address each time"])
async def test_ten_callers_in_lock_step_share_every_batch_after_30_from_a_cold_start(
    way: str, think: float, autojump_clock: MockClock
) -> None:
    batches = await lock_step(*[60] * 10, way=way, think=think)
    settled = batches[30:-1]
    assert len(settled) > 20
    assert {batch.size for batch in settled} == {10}


async def test_a_caller_that_leaves_costs_one_hold_and_no_more(autojump_clock: MockClock) -> None:
    batches = await lock_step(*[60] * 9, 30)
    sizes = [batch.size for batch in batches]
    left = len(sizes) - sizes[::-1].index(10)
    after = batches[left:-1]
    assert {batch.size for batch in after} == {9}
    assert [batch.trigger is Trigger.WAIT for batch in after] == [True] + [False] * (len(after) - 1)
    assert max(after[0].waits) < seconds(1) / 2
    assert max(max(batch.waits) for batch in after[1:]) < 0.001


async def test_one_caller_alone_never_waits(autojump_clock: MockClock) -> None:
    batches = await lock_step(50)
    assert {batch.waits for batch in batches} == {(0.0,)}
    assert {batch.trigger for batch in batches} == {Trigger.IDLE}


@pytest.mark.parametrize("executors", [2, 4])
async def test_as_many_callers_as_executors_never_wait_for_each_other(
    executors: int, autojump_clock: MockClock
) -> None:
    batches = await lock_step(*[50] * executors, executors=executors)
    assert {wait for batch in batches for wait in batch.waits} == {0.0}


@pytest.mark.parametrize("executors", [2, 4])
@pytest.mark.parametrize("callers", [4, 10, 20])
def test_callers_in_lock_step_are_never_slower_than_if_every_idle_executor_started_at_once(
    callers: int, executors: int
) -> None:
    def mean_latency(policy: Policy) -> float:
        chance = Random(5)  # noqa: S311 - no secret
        load = LockStep(callers, lambda: chance.expovariate(1000), 400)
        return simulate(policy, load, linear(FIXED, EACH), executors=executors).mean_latency

    assert mean_latency(AutoPolicy(LARGEST)) <= 1.001 * mean_latency(FixedPolicy(LARGEST))


@pytest.mark.parametrize("way", ["own addresses", "one address for all", "a new address each time"])
@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
async def test_requests_that_come_at_any_time_never_wait_for_others(
    way: str, load: float, autojump_clock: MockClock
) -> None:
    chance = Random(load)  # noqa: S311 - no secret
    async with served(echo, service_time=seconds, batching=AutoPolicy(LARGEST)) as worker:
        callers = Callers(worker, way=way, think=0.0)
        async with trio.open_nursery() as nursery:
            for _ in range(400):
                nursery.start_soon(callers.live, 1)
                await trio.sleep(chance.expovariate(load * LARGEST / seconds(LARGEST)))
    done = 0.0
    for batch, took in zip(worker.recorder.batches, worker.recorder.service_times, strict=True):
        oldest = batch.closed - max(batch.waits)
        assert batch.closed == pytest.approx(max(done, oldest))
        assert batch.trigger in {Trigger.IDLE, Trigger.SIZE}
        done = batch.closed + took


async def test_a_device_that_becomes_twice_as_slow_is_believed_within_20_batches(
    autojump_clock: MockClock,
) -> None:
    slowness = 1.0

    def slower(size: int) -> float:
        return slowness * seconds(size)

    def worst(batches: Sequence[Batch], took: Sequence[float]) -> float:
        return max(abs((batch.predicted or 0.0) / one - 1) for batch, one in zip(batches, took, strict=True))

    chance = Random(1)  # noqa: S311 - no secret
    async with served(echo, service_time=slower, batching=AutoPolicy(LARGEST)) as worker:
        recorder = worker.recorder
        async with trio.open_nursery() as nursery:
            for number in range(600):
                nursery.start_soon(Callers(worker, way="one address for all", think=0.0).live, 1)
                await trio.sleep(chance.expovariate(0.4 * LARGEST / seconds(LARGEST)))
                if number == 300:
                    slowness, changed = 2.0, len(recorder.batches)
    batches, took = recorder.batches, recorder.service_times
    assert worst(batches[30:changed], took[30:changed]) < 0.03
    assert took[changed + 1] >= 2 * seconds(1)
    assert worst(batches[changed + 20 :], took[changed + 20 :]) < 0.1


class Pairs(Policy):
    """The least that a policy of a user's own can be."""

    max_batch_size = 2

    def decide(
        self,
        pending: Sequence[Pending],
        now: float,
        *,
        final: bool,
        others_idle: int = 0,  # noqa: ARG002 - any policy's
    ) -> Decision:
        if len(pending) >= 2 or final:
            return Decision(batch=tuple(pending[:2]))
        return Decision(hold_until=now + 1.0)


async def test_a_policy_of_a_users_own_needs_no_more_than_a_size_and_decide(
    autojump_clock: MockClock,
) -> None:
    async with served(echo, batching=Pairs()) as worker, trio.open_nursery() as nursery:
        callers = Callers(worker, way="own addresses", think=0.1)
        for _ in range(6):
            nursery.start_soon(callers.live, 3)
    assert [batch.size for batch in worker.recorder.batches] == [2] * 9
    assert {batch.predicted for batch in worker.recorder.batches} == {None}
