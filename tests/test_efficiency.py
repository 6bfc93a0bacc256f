"""For those who pay for GPU seconds: batches are filled while everybody is answered in the time given."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import AutoPolicy
from rpcb_trio.batching import Trigger
from rpcb_trio.simulation import Arrival, OpenLoad, Simulation, linear, simulate
from rpcb_trio.testing import served

LARGEST = 12
LAW = linear(0.150, 0.025)
CAPACITY = LARGEST / 0.450


def poisson(load: float, requests: int = 500) -> OpenLoad:
    chance, at, arrivals = Random(3), 0.0, list[Arrival]()  # noqa: S311 - no secret
    for _ in range(requests):
        at += chance.expovariate(load * CAPACITY)
        arrivals.append(Arrival(at))
    return OpenLoad(arrivals)


def gpu_seconds(found: Simulation) -> float:
    return sum(batch.seconds for batch in found.batches)


@pytest.mark.parametrize("objective", [1.0, 1.5, 2.5])
@pytest.mark.parametrize("load", [0.1, 0.3, 0.6])
def test_everybody_is_answered_within_the_objective_for_fewer_seconds_of_the_device(
    load: float, objective: float
) -> None:
    thrifty = simulate(AutoPolicy(LARGEST, latency_objective=objective), poisson(load), LAW)
    prompt = simulate(AutoPolicy(LARGEST), poisson(load), LAW)
    assert max(thrifty.latencies) <= objective
    assert thrifty.mean_batch_size > 1.5 * prompt.mean_batch_size
    assert gpu_seconds(thrifty) < 0.75 * gpu_seconds(prompt)


def test_a_full_batch_does_not_wait() -> None:
    policy = AutoPolicy(LARGEST, latency_objective=100.0)
    found = simulate(policy, OpenLoad([Arrival(float(second)) for second in range(100)]), LAW)
    assert {batch.size for batch in found.batches[1:-1]} == {LARGEST}
    assert {batch.trigger for batch in found.batches[1:-1]} == {Trigger.SIZE}


def test_before_a_service_time_is_known_nothing_is_held() -> None:
    found = simulate(AutoPolicy(LARGEST, latency_objective=2.0), OpenLoad([Arrival(1.0)]), LAW)
    assert found.batches[0].closed == 1.0


def test_a_deadline_before_the_objective_is_kept() -> None:
    arrivals = [
        Arrival(float(second), deadline=second + 0.4 if second % 7 == 0 else None) for second in range(99)
    ]
    found = simulate(AutoPolicy(LARGEST, latency_objective=5.0), OpenLoad(arrivals), LAW)
    late = [each for each in found.requests if not each.on_time and each.arrival.at > 15]
    assert late == []


async def test_a_drain_ends_the_hold(autojump_clock: MockClock) -> None:
    def echo(bodies: list[bytes]) -> list[bytes]:
        return bodies

    policy = AutoPolicy(LARGEST, latency_objective=20.0)
    async with served(echo, service_time=lambda _: 1.0, batching=policy) as worker:
        await worker.call(b"")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.call, b"")
            await trio.sleep(1)
            worker.worker.drain()
        assert trio.current_time() < 10
    assert [batch.trigger for batch in worker.recorder.batches] == [Trigger.IDLE, Trigger.FLUSH]
