"""How large a batch may be: as it was set, and as the device's memory has shown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import AutoPolicy, FixedPolicy, SettingError
from rpcb_trio._batching._limits import PROOFS, Limits
from rpcb_trio.batching import Ending, Run, Work
from tests.scenarios import steady

sizes = st.integers(1, 20)
costs = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])
works = st.builds(lambda size, cost: Work(size, cost, size * cost), sizes, costs)
endings = st.sampled_from(list(Ending))
runs = st.lists(st.builds(Run, works, st.just(1.0), endings), max_size=60)


def work(size: int, cost: float = 1.0) -> Work:
    return Work(size, cost, size * cost)


def run(size: int, ending: Ending, cost: float = 1.0) -> Run:
    return Run(work(size, cost), 1.0, ending)


@steady
@given(runs, costs)
def test_whatever_was_learned_one_request_alone_is_allowed(learned: list[Run], cost: float) -> None:
    limits = Limits(8, max_batch_cost=0.1)
    limits.learn(learned)
    assert limits.allow(work(1, cost))


@steady
@given(runs, works)
def test_whatever_was_learned_what_was_set_is_kept(learned: list[Run], asked: Work) -> None:
    limits = Limits(8, max_batch_cost=6.0)
    limits.learn(learned)
    if limits.allow(asked):
        assert asked.size <= 8
        assert asked.size == 1 or asked.padded <= 6.0


def test_a_batch_that_memory_could_not_hold_halves_the_cap_and_a_larger_one_does_not_raise_it() -> None:
    limits = Limits(32)
    limits.learn([run(16, Ending.OUT_OF_MEMORY)])
    assert limits.max_padded == 8
    limits.learn([run(32, Ending.OUT_OF_MEMORY)])
    assert limits.max_padded == 8


def test_the_cap_is_raised_by_a_tenth_for_sixteen_batches_that_nearly_reach_it() -> None:
    limits = Limits(32)
    limits.learn([run(20, Ending.OUT_OF_MEMORY), *[run(10, Ending.COMPUTED)] * (PROOFS - 1)])
    assert limits.max_padded == 10
    limits.learn([run(4, Ending.COMPUTED)] * 100)
    assert limits.max_padded == 10, "small ones show nothing"
    limits.learn([run(9, Ending.COMPUTED)])
    assert limits.max_padded == pytest.approx(11)


@pytest.mark.parametrize(
    "out_of_memory", [run(1, Ending.OUT_OF_MEMORY, cost=4.0), run(2, Ending.OUT_OF_MEMORY, cost=0.0)]
)
def test_one_request_that_does_not_fit_alone_and_work_that_costs_nothing_say_nothing_of_batches(
    out_of_memory: Run,
) -> None:
    limits = Limits(32)
    limits.learn([out_of_memory])
    assert limits.max_padded == math.inf


def test_what_failed_otherwise_says_nothing_of_memory() -> None:
    limits = Limits(32)
    limits.learn([run(16, Ending.FAILED)])
    assert limits.max_padded == math.inf


def test_a_batch_is_computed_as_the_next_of_the_batch_sizes() -> None:
    limits = Limits(6, batch_sizes=(8, 1, 4))
    assert [limits.as_computed(work(size)).size for size in range(1, 7)] == [1, 4, 4, 4, 8, 8]
    assert Limits(6).as_computed(work(5)) == work(5)


@pytest.mark.parametrize("policy", [AutoPolicy, FixedPolicy])
def test_a_senseless_limit_is_refused_by_its_name(policy: type[AutoPolicy | FixedPolicy]) -> None:
    with pytest.raises(SettingError, match="max_batch_size"):
        policy(0)
    for cost in (0.0, -1.0, math.nan):
        with pytest.raises(SettingError, match="max_batch_cost"):
            policy(max_batch_cost=cost)


@pytest.mark.parametrize("batch_sizes", [(0, 32), (1, 2, 4)])
def test_batch_sizes_that_do_not_cover_every_batch_are_refused(batch_sizes: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match="batch_sizes"):
        AutoPolicy(32, batch_sizes=batch_sizes)


@pytest.mark.parametrize("objective", [0.0, -1.0, math.inf, math.nan])
def test_an_objective_that_is_no_time_is_refused(objective: float) -> None:
    with pytest.raises(SettingError, match="latency_objective"):
        AutoPolicy(latency_objective=objective)
