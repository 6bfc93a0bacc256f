"""What settings are chosen by: the law of what batches take, and simulations by it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import SettingError
from rpcb_trio._measure import (
    Demand,
    Objective,
    Observation,
    Predicted,
    Prospect,
    ServiceLaw,
    Setting,
    advise,
    fit_law,
    latency_over_load,
    law_by_hand,
    sizes_up_to,
)
from rpcb_trio._statistics import fit_line
from rpcb_trio.batching import Work
from tests.scenarios import steady

SIZES = (1, 2, 4, 8, 16, 32)
GPU = law_by_hand(0.020, 0.001)


def batches(law: ServiceLaw, costs: Sequence[float] = (1.0,), rounds: int = 12) -> list[Observation]:
    """Batches of each size, of drawn costs, without noise."""
    dice = random.Random(0)  # noqa: S311 - the same in every run
    works = [Work.of(dice.choices(costs, k=size)) for _ in range(rounds) for size in SIZES]
    return [Observation(work, law(work)) for work in works]


@steady
@given(fixed=st.floats(0.0, 1.0), per_cost=st.floats(1e-6, 1.0), padded=st.booleans())
def test_the_law_that_made_the_times_is_found_again(fixed: float, per_cost: float, padded: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    made = ServiceLaw(fixed, per_cost, padded)
    found = fit_law(batches(made, costs=(0.5, 3.0, 9.0)))
    for work in (Work(3, 2.0, 5.0), Work(32, 9.0, 100.0), Work(1, 0.5, 0.5)):
        assert found(work) == pytest.approx(made(work), rel=1e-3)


@steady
@given(
    fixed=st.floats(1e-3, 1.0),
    slope=st.floats(1e-3, 1.0),
    unit=st.sampled_from([1e-9, 1.0, 1e9]),
)
def test_the_unit_of_work_does_no_harm_to_the_line(fixed: float, slope: float, unit: float) -> None:
    times = [fixed + slope * size for size in SIZES]
    found = fit_line([unit * size for size in SIZES], times, [1.0] * len(SIZES))
    assert found == pytest.approx((fixed, slope / unit), rel=1e-6)


def test_padding_is_told_from_summing_by_the_times() -> None:
    for padded in (True, False):
        made = ServiceLaw(0.02, 0.01, padded)
        assert fit_law(batches(made, costs=(1.0, 2.0, 8.0))).padded == padded


def test_a_few_batches_that_took_far_too_long_do_not_turn_the_line() -> None:
    observed = batches(GPU)
    observed[::9] = [Observation(each.work, 20 * each.seconds) for each in observed[::9]]
    found = fit_law(observed)
    assert (found.fixed, found.per_cost) == pytest.approx((GPU.fixed, GPU.per_cost), rel=0.05)


def test_noise_is_drawn_from_what_was_observed_outliers_included() -> None:
    dice = random.Random(1)  # noqa: S311 - the same in every run
    shares = (0.9, 1.0, 1.0, 1.1, 3.0)
    observed = [
        Observation(each.work, each.seconds * dice.choice(shares)) for each in batches(GPU, rounds=50)
    ]
    found = fit_law(observed)
    noise = found.noise(seed=0)
    drawn = [noise() for _ in range(500)]
    assert set(drawn) <= set(found.factors)
    assert max(drawn) > 2.5
    assert drawn[:20] == [each() for each in [found.noise(seed=0)] for _ in range(20)]
    assert found.mean(4, 1.0) == pytest.approx(GPU(Work(4, 1.0, 4.0)) * 1.4, rel=0.1)


def test_where_the_device_is_no_line_what_was_measured_counts() -> None:
    taken = {1: 0.01, 2: 0.01, 4: 0.01, 8: 0.01, 16: 0.05, 32: 0.05}
    observed = [Observation(Work(size, 1.0, size), taken[size]) for size in SIZES for _ in range(5)]
    found = fit_law(observed)
    for size, seconds in taken.items():
        assert found(Work(size, 1.0, size)) == pytest.approx(seconds)
    assert 0.01 < found(Work(12, 1.0, 12.0)) < 0.06


def test_a_single_size_is_a_law_for_that_size() -> None:
    found = fit_law([Observation(Work(1, 1.0, 1.0), 0.02)] * 5)
    assert found(Work(1, 1.0, 1.0)) == pytest.approx(0.02)


@pytest.mark.parametrize(("fixed", "per_cost"), [(-1.0, 1.0), (0.0, 0.0), (float("nan"), 1.0)])
def test_a_law_by_hand_that_takes_no_time_is_refused(fixed: float, per_cost: float) -> None:
    with pytest.raises(SettingError, match=r"fixed-seconds .*; give numbers of seconds"):
        law_by_hand(fixed, per_cost)


def test_sizes_are_the_powers_of_two_and_the_largest() -> None:
    assert sizes_up_to(1) == [1]
    assert sizes_up_to(8) == [1, 2, 4, 8]
    assert sizes_up_to(12) == [1, 2, 4, 8, 12]


def prospect(replicas: int = 1) -> Prospect:
    return Prospect(dict.fromkeys(range(1, replicas + 1), GPU), [1.0], requests=200)


def settings(*sizes: int, replicas: int = 1) -> list[Setting]:
    return [Setting(size, count) for count in range(1, replicas + 1) for size in sizes or SIZES]


def recommended(demand: Demand, objective: Objective, *sizes: int, replicas: int = 1) -> Predicted:
    return advise(prospect(replicas), settings(*sizes, replicas=replicas), demand, objective).recommended


def test_the_same_settings_have_the_same_prospect_every_time() -> None:
    demand, objective = Demand(rate=200.0, callers=3), Objective()
    first, second = (prospect().predict(Setting(8, 1), demand, objective) for _ in range(2))
    assert first == second


def test_the_highest_rate_still_meets_the_objective_and_the_capacity_is_above_it() -> None:
    best = recommended(Demand(rate=100.0), objective := Objective(p99=0.080), 4, 32)
    assert best.highest is not None
    assert 100 < best.highest < best.capacity == pytest.approx(32 / 0.052)
    assert prospect().predict(best.setting, Demand(rate=best.highest), objective).meets


def test_the_fewest_replicas_that_meet_the_objective_are_recommended() -> None:
    objective = Objective(p99=0.080)
    assert recommended(Demand(rate=100.0), objective, 32, replicas=3).setting.replicas == 1
    assert recommended(Demand(rate=900.0), objective, 32, replicas=3).setting.replicas == 2


def test_what_stands_the_highest_load_is_recommended_and_of_equals_the_smallest() -> None:
    assert recommended(Demand(rate=100.0), Objective(mean=0.2), 8, 32).setting.max_batch_size == 32
    alike = msgspec.structs.replace(GPU, per_cost=0.020, fixed=0.0)  # batching gains nothing
    flat = Prospect({1: alike}, [1.0], requests=200)
    assert advise(
        flat, settings(1, 2, 8), Demand(rate=20.0), Objective(mean=1.0)
    ).recommended.setting == Setting(1, 1)


def test_callers_in_lock_step_are_served_in_one_batch_where_it_has_room() -> None:
    table = advise(prospect(), settings(), Demand(callers=8), Objective()).settings
    by_size = {each.setting.max_batch_size: each.mean for each in table}
    assert by_size[8] < by_size[4] < by_size[1]
    assert by_size[8] == pytest.approx(0.028, rel=0.2)


def test_the_most_callers_are_sought_where_no_rate_is_given() -> None:
    best = recommended(Demand(callers=4), Objective(mean=0.035), 32)
    assert best.highest is not None
    assert 4 < best.highest < 15


def test_more_than_can_be_computed_is_no_prospect() -> None:
    for rate in (64.0, 1000.0):  # one by one it is 47.6 a second
        predicted = prospect().predict(Setting(1, 1), Demand(rate=rate), Objective())
        assert not predicted.keeps_up
        assert not predicted.meets


def test_curves_are_drawn_at_the_same_loads_as_far_as_each_setting_keeps_up() -> None:
    demand, objective = Demand(rate=100.0), Objective()
    advice = advise(prospect(), settings(), demand, objective)
    assert len(advice.alternatives) == 2
    small = next(each for each in advice.settings if each.setting.max_batch_size == 1)
    whole, part = latency_over_load(prospect(), [advice.recommended, small], demand, objective)
    assert 0 < len(part.loads) < len(whole.loads) == len(whole.p99s)
    assert whole.loads[: len(part.loads)] == part.loads
    assert list(whole.means) == sorted(whole.means)


def test_costs_are_drawn_from_those_of_the_requests() -> None:
    for demand in (Demand(rate=10.0), Demand(callers=3), Demand(rate=10.0, callers=3)):
        load = demand.load([2.0, 5.0], 50)
        first = list(load.first())
        assert {each.cost for each in [*first, *load.answered(first[-1], first[-1].at)]} <= {2.0, 5.0}


def test_simulated_batches_carry_the_measured_noise() -> None:
    noisy = msgspec.structs.replace(GPU, factors=(*[1.0] * 9, 6.0))
    setting, demand = Setting(8, 1), Demand(rate=5.0)
    quiet, loud = (
        Prospect({1: law}, [1.0], requests=300).predict(setting, demand, Objective()) for law in (GPU, noisy)
    )
    assert quiet.p99 < 0.060
    assert loud.p99 > 6 * 0.021
