"""Whose turn it is: priority goes first, and waiting makes up for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio.batching import Pending
from rpcb_trio.simulation import Arrival, OpenLoad, linear, simulate
from tests.pendings import pending, turns
from tests.scenarios import steady

times = st.integers(0, 80).map(lambda each: each / 8)
waitings = st.lists(st.builds(lambda at, level: pending(at, priority=level), times, st.integers(0, 9))).map(
    lambda each: sorted(each, key=lambda one: one.request.arrived)
)
ageings = st.sampled_from([0.0, 0.125, 1.0, 100.0])
policies = pytest.mark.parametrize("policy", [AutoPolicy, FixedPolicy])


@steady
@given(waitings, ageings)
def test_one_is_overtaken_only_by_those_that_come_within_the_ageing_for_each_level_they_are_above_it(
    waiting: list[Pending], ageing: float
) -> None:
    ordered = list(turns(waiting, ageing))
    assert sorted(map(id, ordered)) == sorted(map(id, waiting))
    for place, overtaken in enumerate(ordered):
        for earlier in ordered[:place]:
            later_by = earlier.request.arrived - overtaken.request.arrived
            assert later_by <= (earlier.request.priority - overtaken.request.priority) * ageing


@steady
@given(waitings, ageings)
def test_among_equals_the_oldest_is_first(waiting: list[Pending], ageing: float) -> None:
    ordered = list(turns(waiting, ageing))
    for level in range(10):
        equals = [each for each in ordered if each.request.priority == level]
        assert equals == [each for each in waiting if each.request.priority == level]


@policies
def test_priority_goes_first_and_low_priority_fills_spare_places(
    policy: type[AutoPolicy | FixedPolicy],
) -> None:
    low = [pending(number / 100) for number in range(4)]
    high = [pending(0.1 + number / 100, priority=5) for number in range(3)]
    decision = policy(4).decide([*low, *high], 0.2, final=False)
    assert decision.batch == (*high, low[0])


@policies
def test_who_has_waited_longer_than_the_levels_are_worth_goes_before_them(
    policy: type[AutoPolicy | FixedPolicy],
) -> None:
    old, high = pending(0.0), pending(5.5, priority=5)
    assert policy(1).decide([old, high], 5.5, final=False).batch == (old,)
    assert policy(1).decide([pending(1.0), high], 5.5, final=False).batch == (high,)


@policies
def test_low_priority_does_not_starve_under_a_load_of_high_priority_that_takes_all(
    policy: type[AutoPolicy | FixedPolicy],
) -> None:
    high = [Arrival(number / 20, priority=9) for number in range(1000)]  # 1.0 of what the device can do
    low = [Arrival(1.0 + number) for number in range(40)]
    found = simulate(policy(4), OpenLoad([*high, *low]), linear(0.1, 0.025))
    latencies = {
        level: [one.latency for one in found.requests if one.arrival.priority == level] for level in (0, 9)
    }
    assert max(latencies[0]) < 9 + 3
    assert sum(latencies[9]) / 1000 < sum(latencies[0]) / 40
