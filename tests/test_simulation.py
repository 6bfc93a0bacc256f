"""The simulator: the worker's own batcher and policy, in a virtual world that loses nothing."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import FixedPolicy, SettingError
from rpcb_trio.batching import Decision, Pending, Policy, Trigger, Work
from rpcb_trio.simulation import (
    Arrival,
    LockStep,
    Mixed,
    OpenLoad,
    Simulation,
    linear,
    padded,
    poisson,
    simulate,
)
from tests.scenarios import steady

SECONDS = st.integers(0, 40).map(lambda eighths: eighths / 8)  # so coarse that much happens at one instant


def latencies(found: Simulation) -> list[float]:
    return [each.latency for each in found.requests]


def exponential(mean: float, seed: int) -> Callable[[], float]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    return lambda: chance.expovariate(1 / mean)


def poisson_load(rate: float, requests: int, seed: int) -> OpenLoad:
    return OpenLoad(map(Arrival, islice(poisson(rate, random.Random(seed)), requests)))  # noqa: S311 - no secret


class Fussy(Policy):
    """Does as it is told, once for each decision; records what it is told."""

    max_batch_size = 8

    def __init__(self, hold: float = math.inf) -> None:
        self._hold = hold
        self.shown: list[tuple[float, int]] = []

    def decide(
        self,
        pending: Sequence[Pending],
        now: float,
        *,
        final: bool,  # noqa: ARG002 - any policy's
        others_idle: int = 0,  # noqa: ARG002 - any policy's
    ) -> Decision:
        self.shown.append((now, len(pending)))
        if pending and now >= self._hold:
            return Decision(batch=tuple(pending))
        return Decision(hold_until=self._hold)


def test_a_small_load_is_served_as_computed_by_hand() -> None:
    load = OpenLoad(Arrival(at) for at in (1.0, 2.0, 3.0, 20.0))
    found = simulate(FixedPolicy(8), load, linear(4.0, 1.0))
    # the first runs alone from 1 to 6, the two that came meanwhile from 6 to 12, the last from 20 to 25
    assert [each.finished for each in found.requests] == [6.0, 12.0, 12.0, 25.0]
    assert [each.batch for each in found.requests] == [0, 1, 1, 2]
    assert [(each.closed, each.size, each.seconds) for each in found.batches] == [
        (1.0, 1, 5.0),
        (6.0, 2, 6.0),
        (20.0, 1, 5.0),
    ]
    assert found.mean_latency == (5 + 10 + 9 + 5) / 4
    assert found.percentile(50) == 5.0
    assert found.percentile(100) == 10.0
    assert found.throughput == 4 / 24
    assert found.mean_batch_size == 4 / 3
    assert found.busy_share == 16 / 24
    assert found.on_time_share == 1.0


def test_a_wait_is_served_to_the_last_bit() -> None:
    found = simulate(FixedPolicy(8, 0.1), OpenLoad([Arrival(0.2), Arrival(0.2 + 0.05)]), linear(0.7, 0.0))
    assert [each.finished for each in found.requests] == [0.2 + 0.1 + 0.7] * 2
    assert found.batches[0].trigger is Trigger.WAIT


def test_batches_are_computed_side_by_side_by_several_executors() -> None:
    found = simulate(FixedPolicy(1), OpenLoad(Arrival(0.0) for _ in range(5)), linear(1.0, 0.0), executors=2)
    assert latencies(found) == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert found.busy_share == 5 / 6


def test_callers_in_lock_step_think_and_send_their_next_request() -> None:
    found = simulate(FixedPolicy(2, 5.0), LockStep(2, lambda: 0.5, requests=5), linear(1.0, 1.0))
    assert [each.arrival.at for each in found.requests] == [0.5, 0.5, 4.0, 4.0, 7.5]
    assert [each.arrival.caller for each in found.requests][:2] == ["caller 0", "caller 1"]
    assert [each.size for each in found.batches] == [2, 2, 1]


def test_callers_in_lock_step_may_have_costs_and_an_end() -> None:
    load = LockStep(1, lambda: 0.0, requests=9, cost=lambda: 3.0, until=4.0)
    found = simulate(FixedPolicy(1), load, padded(0.5, 0.5))
    assert [(each.arrival.at, each.arrival.cost) for each in found.requests] == [(0.0, 3.0), (2.0, 3.0)]


def test_each_load_of_a_mixture_hears_of_its_own_replies_only() -> None:
    load = Mixed(
        [
            LockStep(1, lambda: 1.0, requests=3, name="a"),
            LockStep(2, lambda: 2.0, requests=4, name="b"),
            OpenLoad([Arrival(0.0)]),
        ]
    )
    found = simulate(FixedPolicy(4), load, linear(0.25, 0.0))
    senders = Counter(each.arrival.caller for each in found.requests)
    assert senders == {"a 0": 3, "b 0": 2, "b 1": 2, None: 1}


def test_what_arrives_at_the_instant_of_a_decision_is_known_to_it() -> None:
    at_once = OpenLoad([Arrival(0.0), Arrival(1.0), Arrival(1.0)])  # as the wait ends
    assert [each.size for each in simulate(FixedPolicy(8, 1.0), at_once, linear(1.0, 0.0)).batches] == [3]
    as_computed = OpenLoad([Arrival(0.0), Arrival(1.0), Arrival(1.0)])  # as the executor becomes idle
    assert [each.size for each in simulate(FixedPolicy(8), as_computed, linear(1.0, 0.0)).batches] == [1, 2]


def test_what_expires_is_not_computed_and_its_caller_goes_on() -> None:
    load = OpenLoad([Arrival(0.0), Arrival(0.5, deadline=0.75), Arrival(0.5, deadline=9.0)])
    found = simulate(FixedPolicy(8), load, linear(1.0, 0.0))
    assert [each.refused for each in found.requests] == [None, "expired", None]
    assert found.requests[1].finished is None
    assert found.on_time_share == 2 / 3


def test_costs_reach_the_law_and_the_noise_multiplies_it() -> None:
    load = OpenLoad([Arrival(0.0, cost=3.0), Arrival(0.0, cost=2.0)])
    found = simulate(FixedPolicy(8), load, padded(1.0, 0.5), noise=lambda: 2.0)
    assert found.batches[0].work == Work(2, 3.0, 5.0)
    assert latencies(found) == [8.0, 8.0]


def test_a_law_may_change_with_time() -> None:
    def slower_from_ten_on(work: Work) -> float:
        return 1.0 if trio.current_time() < 10 else 2.0

    found = simulate(FixedPolicy(1), OpenLoad([Arrival(0.0), Arrival(10.0)]), slower_from_ten_on)
    assert latencies(found) == [1.0, 2.0]


def test_a_policy_is_asked_only_while_an_executor_is_idle_and_something_waits() -> None:
    policy = Fussy(hold=1.0)
    simulate(policy, OpenLoad(Arrival(at) for at in (0.5, 1.5, 2.0)), linear(1.0, 0.0))
    assert policy.shown == [(0.5, 1), (1.0, 1), (2.0, 2)]


@pytest.mark.parametrize("executors", [1, 3])
def test_the_same_seeds_give_the_same_figures_to_the_last_digit(executors: int) -> None:
    def run() -> Simulation:
        load = Mixed([poisson_load(40, 300, 1), LockStep(5, lambda: 0.001, 200)])
        noise = exponential(1.0, 3)
        return simulate(FixedPolicy(8, 0.01), load, linear(0.02, 0.001), executors=executors, noise=noise)

    assert run() == run()


@steady
@given(
    arrivals=st.lists(
        st.builds(
            Arrival,
            at=SECONDS,
            cost=st.integers(1, 9).map(float),
            priority=st.integers(0, 3),
            deadline=st.none() | SECONDS,
        ),
        max_size=40,
    ),
    callers=st.integers(0, 4),
    think=SECONDS,
    size=st.integers(1, 5),
    wait=SECONDS,
    executors=st.integers(1, 3),
    per_item=SECONDS,
)
def test_every_request_is_answered_once_and_no_executor_holds_two_batches(
    *,
    arrivals: list[Arrival],
    callers: int,
    think: float,
    size: int,
    wait: float,
    executors: int,
    per_item: float,
) -> None:
    load = Mixed([OpenLoad(arrivals), LockStep(callers, lambda: think, 20)])
    found = simulate(
        FixedPolicy(size, wait, max_batch_cost=20.0), load, linear(0.25, per_item), executors=executors
    )
    assert len(found.requests) == len(arrivals) + (20 if callers else 0)
    members = Counter(each.batch for each in found.requests if each.refused is None)
    assert members == {index: batch.size for index, batch in enumerate(found.batches)}
    for each in found.requests:
        assert (each.finished is None) is (each.refused == "expired")
        if each.finished is not None and each.batch is not None:
            batch = found.batches[each.batch]
            assert each.arrival.at <= batch.closed
            assert each.finished == batch.closed + batch.seconds
    for batch in found.batches:
        others = sum(each.closed <= batch.closed < each.closed + each.seconds for each in found.batches)
        assert others <= executors


def test_greedy_by_the_simulator_agrees_with_an_m_d_1_queue() -> None:
    found = simulate(FixedPolicy(1), poisson_load(50, 8_000, seed=4), linear(0.01, 0.0))
    half_busy = 0.01 + 0.01 * 0.5 / (2 * (1 - 0.5))  # Pollaczek and Khinchine
    assert found.mean_latency == pytest.approx(half_busy, rel=0.02)


def test_a_policy_that_holds_a_request_for_ever_is_an_error() -> None:
    with pytest.raises(SettingError, match="holds a request for ever"):
        simulate(Fussy(), OpenLoad([Arrival(0.0)]), linear(1.0, 0.0))


def test_what_makes_no_sense_is_refused() -> None:
    nothing = OpenLoad([])
    with pytest.raises(SettingError, match="executors is 0"):
        simulate(FixedPolicy(), nothing, linear(1.0, 0.0), executors=0)
    with pytest.raises(SettingError, match="sends a request at -1 s"):
        simulate(FixedPolicy(), OpenLoad([Arrival(-1.0)]), linear(1.0, 0.0))
    with pytest.raises(SettingError, match="the law gives -1 seconds"):
        simulate(FixedPolicy(), OpenLoad([Arrival(0.0)]), linear(-1.0, 0.0))


def test_an_empty_load_finds_nothing() -> None:
    found = simulate(FixedPolicy(), OpenLoad([]), linear(1.0, 0.0))
    assert (found.requests, found.batches) == ((), ())
    assert math.isnan(found.mean_latency)
    assert math.isnan(found.percentile(50))
    assert math.isnan(found.throughput)
