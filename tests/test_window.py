"""Which pending requests go together: the first in turn always, and with it whoever makes the best rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio._batching._limits import Limits
from rpcb_trio._batching._selection import Predict, best_prefix, best_window
from rpcb_trio._batching._waiting import Turns
from rpcb_trio.batching import Pending, Policy, Work
from rpcb_trio.simulation import Arrival, OpenLoad, padded, simulate
from tests.pendings import pending, turns
from tests.scenarios import steady


def law(fixed: float, limits: Limits) -> Predict:
    return lambda work: fixed + limits.as_computed(work).padded


def rate(members: Iterable[Pending], predict: Predict) -> float:
    work = Work.of([each.cost for each in members])
    return work.total / predict(work)


costs = st.sampled_from([0.25, 0.5, 1.0, 1.25, 3.0, 10.0])
waitings = st.lists(costs.map(lambda cost: pending(cost=cost)), min_size=1, max_size=10)
limits = st.builds(
    Limits,
    st.integers(1, 6),
    max_batch_cost=st.sampled_from([float("inf"), 5.0]),
    batch_sizes=st.sampled_from([(), (2, 6), (1, 2, 4, 8)]),
)
fixed_parts = st.sampled_from([0.01, 0.5, 3.0, 20.0])
choosers = pytest.mark.parametrize("choose", [best_prefix, best_window])
Chooser = Callable[[Turns, Limits, Predict], tuple[Pending, ...]]


@choosers
@steady
@given(waiting=waitings, limits=limits, fixed=fixed_parts)
def test_the_first_in_turn_is_always_among_them_and_they_are_allowed(
    choose: Chooser, waiting: list[Pending], limits: Limits, fixed: float
) -> None:
    chosen = choose(turns(waiting), limits, law(fixed, limits))
    assert waiting[0] in chosen
    assert limits.allow(Work.of([each.cost for each in chosen]))
    assert [each for each in waiting if each in chosen] == list(chosen), "in turn, and nobody twice"


@steady
@given(waitings, limits, fixed_parts)
def test_no_neighbours_of_the_first_in_turn_make_a_better_rate_with_it(
    waiting: list[Pending], limits: Limits, fixed: float
) -> None:
    predict = law(fixed, limits)
    best = rate(best_window(turns(waiting), limits, predict), predict)
    by_cost = sorted(waiting, key=lambda each: each.cost)
    first = by_cost.index(waiting[0])
    for shortest, longest in product(range(first + 1), range(first, len(waiting))):
        batch = by_cost[shortest : longest + 1]
        if limits.allow(Work.of([each.cost for each in batch])):
            assert rate(batch, predict) <= best * (1 + 1e-9)


@steady
@given(waitings, limits, fixed_parts)
def test_no_prefix_has_a_better_rate_than_the_one_that_is_chosen(
    waiting: list[Pending], limits: Limits, fixed: float
) -> None:
    predict = law(fixed, limits)
    best = rate(best_prefix(turns(waiting), limits, predict), predict)
    for count in range(1, len(waiting) + 1):
        if not limits.allow(Work.of([each.cost for each in waiting[:count]])):
            break
        assert rate(waiting[:count], predict) <= best * (1 + 1e-9)


@choosers
def test_before_anything_is_known_as_many_go_as_are_allowed(choose: Chooser) -> None:
    waiting = [pending(cost=1.0) for _ in range(9)]
    assert choose(turns(waiting), Limits(6), lambda _: 0.0) == tuple(waiting[:6])


@choosers
def test_requests_that_cost_nothing_go_together(choose: Chooser) -> None:
    waiting = [pending(cost=0.0) for _ in range(9)]
    assert choose(turns(waiting), Limits(6), lambda _: 0.5) == tuple(waiting[:6])


def test_neighbours_in_length_go_together_and_the_oldest_is_among_them() -> None:
    waiting = [pending(cost=cost) for cost in (5.0, 1.0, 5.2, 1.1, 4.9, 20.0, 5.1, 0.9)]
    chosen = best_window(turns(waiting), Limits(8), lambda work: 2.0 + work.padded)
    assert [each.cost for each in chosen] == [5.0, 5.2, 4.9, 5.1]


def test_a_long_one_is_not_filled_with_short_ones_where_that_gains_nothing() -> None:
    waiting = [pending(cost=cost) for cost in (20.0, 1.0, 1.0, 1.0, 1.0)]
    assert best_window(turns(waiting), Limits(8), lambda work: 0.5 + work.padded) == (waiting[0],)


def test_where_each_batch_costs_much_by_itself_short_ones_go_with_long_ones() -> None:
    waiting = [pending(cost=cost) for cost in (4.0, 3.0, 2.0, 3.5)]
    assert len(best_window(turns(waiting), Limits(8), lambda work: 500.0 + work.padded)) == 4


def test_batch_sizes_are_rounded_by_what_they_cost() -> None:
    limits = Limits(16, batch_sizes=(1, 4, 16))
    predict = law(0.5, limits)
    five = [pending() for _ in range(5)]
    assert len(best_prefix(turns(five), limits, predict)) == 4, "a fifth would cost as much as sixteen"
    fourteen = [pending() for _ in range(14)]
    assert len(best_prefix(turns(fourteen), limits, law(50.0, limits))) == 14, "nearly what is paid for"


def test_the_best_window_may_lie_beyond_a_step_of_batch_sizes() -> None:
    limits = Limits(16, batch_sizes=(4, 16))
    waiting = [pending(cost=1.0 - number / 1000) for number in range(16)]
    assert len(best_window(turns(waiting), limits, law(20.0, limits))) == 16


def throughput(policy: Policy, lengths: list[float]) -> float:
    """Of the lengths, per second, of a backlog."""
    found = simulate(policy, OpenLoad([Arrival(0.0, cost=each) for each in lengths]), padded(0.02, 0.01))
    assert len(found.latencies) == len(lengths)
    return sum(lengths) / found.span


def test_padded_work_is_done_more_than_twice_as_fast_as_by_count_alone() -> None:
    chance = Random(1)  # noqa: S311 - no secret
    lengths = [chance.lognormvariate(0.0, 1.0) for _ in range(1500)]
    assert throughput(AutoPolicy(32), lengths) > 2.2 * throughput(FixedPolicy(32), lengths)
