"""When not everybody can be answered in time, as many as possible are; the others are told soon."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.policy.bounds import most_on_time
from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio._batching._limits import Limits
from rpcb_trio._batching._orders import deadline_of
from rpcb_trio._batching._selection import choose_in_time
from rpcb_trio.batching import Pending, Work
from rpcb_trio.simulation import Arrival, OpenLoad, linear, simulate
from tests.pendings import pending, turns
from tests.scenarios import steady


def takes(work: Work) -> float:
    return 1.0 + work.padded


def due(*deadlines: float | None) -> list[Pending]:
    return [pending(deadline=deadline) for deadline in deadlines]


def test_a_request_that_would_be_late_even_alone_is_too_late_and_the_others_are_computed() -> None:
    waiting = due(1.5, 1.9, 9.0, 9.0)
    choice = choose_in_time(turns(waiting), 0.0, Limits(8), takes)
    assert choice.too_late == tuple(waiting[:2])
    assert choice.batch == tuple(waiting[2:])


def test_one_that_would_make_the_batch_small_is_passed_over() -> None:
    waiting = due(2.0, *[10.0] * 8)
    choice = choose_in_time(turns(waiting), 0.0, Limits(8), takes)
    assert choice.batch == tuple(waiting[1:])


def test_one_passed_over_that_could_be_in_time_alone_is_not_too_late() -> None:
    waiting = due(2.0, *[10.0] * 8)
    assert choose_in_time(turns(waiting), 0.0, Limits(8), takes).too_late == ()


def test_of_two_choices_with_the_same_rate_the_one_that_passes_fewer_over_is_taken() -> None:
    waiting = due(3.0, 3.0, 3.0, 3.0)
    choice = choose_in_time(turns(waiting), 0.0, Limits(8), takes)
    assert choice.batch == tuple(waiting[:2])


def test_a_batch_is_no_larger_than_the_first_deadline_in_it_allows() -> None:
    choice = choose_in_time(turns(due(4.0, 4.0, 4.0, 4.0, 4.0)), 0.0, Limits(8), takes)
    assert len(choice.batch) == 3


def test_when_none_can_be_in_time_all_are_too_late() -> None:
    waiting = due(1.0, 1.5, 1.9)
    choice = choose_in_time(turns(waiting), 0.0, Limits(8), takes)
    assert (choice.batch, choice.too_late) == ((), tuple(waiting))


def test_a_request_without_a_deadline_has_a_place_once_its_turn_has_come() -> None:
    waiting = due(None, *[3.0] * 20)
    choice = choose_in_time(turns(waiting), 0.0, Limits(4), takes)
    assert waiting[0] in choice.batch
    assert len(choice.batch) == 2


def test_a_long_request_with_time_enough_is_not_refused_for_short_ones() -> None:
    hopeless, long, short = due(0.5)[0], pending(cost=100.0, deadline=5000.0), pending(deadline=5001.0)
    choice = choose_in_time(turns([hopeless, long, short]), 0.0, Limits(8, max_batch_cost=150), takes)
    assert choice.too_late == (hopeless,)


deadlines = st.none() | st.integers(0, 80).map(lambda each: each / 4)
waitings = st.lists(
    st.builds(
        lambda deadline, cost: pending(deadline=deadline, cost=cost),
        deadlines,
        st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    ),
    min_size=1,
    max_size=14,
)
limits = st.builds(Limits, st.integers(1, 6), max_batch_cost=st.sampled_from([math.inf, 4.0]))


@steady
@given(waitings, limits)
def test_each_chosen_is_in_time_and_each_too_late_could_not_be(
    waiting: list[Pending], limits: Limits
) -> None:
    choice = choose_in_time(turns(waiting), 0.0, limits, takes)
    if choice.batch:
        work = Work.of([each.cost for each in choice.batch])
        assert limits.allow(work)
        assert all(takes(work) <= deadline_of(each) for each in choice.batch)
    for each in choice.too_late:
        assert takes(Work(1, each.cost, each.cost)) > deadline_of(each)
    assert not {id(each) for each in choice.batch} & {id(each) for each in choice.too_late}


@steady
@given(waitings, limits)
def test_one_at_least_is_computed_unless_all_are_too_late(waiting: list[Pending], limits: Limits) -> None:
    choice = choose_in_time(turns(waiting), 0.0, limits, takes)
    assert choice.batch or len(choice.too_late) == len(waiting)


def one_by_one(waiting: list[Pending], limits: Limits) -> list[Pending]:
    """The batch that is found by trying each number that could be passed over, with all their batches."""
    always = waiting[:1] if waiting[0].request.deadline is None else []
    others = sorted(waiting[len(always) :], key=deadline_of)
    best, best_rate = list(always), len(always) / takes(Work.of([each.cost for each in always] or [0.0]))
    for passed_over in range(len(others)):
        for count in range(1, len(others) - passed_over + 1):
            batch = [*always, *others[passed_over : passed_over + count]]
            work = Work.of([each.cost for each in batch])
            if not limits.allow(work) or takes(work) > deadline_of(others[passed_over]):
                break
            if len(batch) / takes(work) > best_rate:
                best, best_rate = batch, len(batch) / takes(work)
    return best


alike = st.lists(deadlines.map(lambda deadline: pending(deadline=deadline)), min_size=1, max_size=40)


@steady
@given(alike, st.builds(Limits, st.integers(1, 6)))
def test_where_all_cost_the_same_no_number_passed_over_makes_a_better_batch(
    waiting: list[Pending], limits: Limits
) -> None:
    choice = choose_in_time(turns(waiting), 0.0, limits, takes)
    assert list(choice.batch) == one_by_one(waiting, limits)


LARGEST = 12
LAW = linear(0.150, 0.025)


def seconds(size: int) -> float:
    return 0.150 + 0.025 * size


def overload(load: float, patience: float, *, executors: int = 1, seed: int = 1) -> list[Arrival]:
    chance, at, arrivals = Random(seed), 0.0, list[Arrival]()  # noqa: S311 - no secret
    for _ in range(800):
        at += chance.expovariate(executors * load * LARGEST / seconds(LARGEST))
        arrivals.append(Arrival(at, deadline=at + patience * seconds(LARGEST)))
    return arrivals


@pytest.mark.parametrize("load", [1.1, 1.2, 1.3])
@pytest.mark.parametrize("patience", [2, 4])
def test_under_overload_nearly_as_many_are_answered_in_time_as_any_schedule_could(
    load: float, patience: float
) -> None:
    arrivals = overload(load, patience)
    most = most_on_time(
        [each.at for each in arrivals],
        [each.deadline or math.inf for each in arrivals],
        seconds,
        LARGEST,
    )
    learned = simulate(AutoPolicy(LARGEST), OpenLoad(arrivals), LAW)
    fixed = simulate(FixedPolicy(LARGEST), OpenLoad(arrivals), LAW)
    assert sum(each.on_time for each in learned.requests) >= 0.97 * most
    assert learned.on_time_share > fixed.on_time_share


@pytest.mark.parametrize("executors", [2, 4])
def test_none_is_too_late_that_another_executor_could_answer(executors: int) -> None:
    arrivals = overload(0.9, 4, executors=executors)
    learned = simulate(AutoPolicy(LARGEST), OpenLoad(arrivals), LAW, executors=executors)
    fixed = simulate(FixedPolicy(LARGEST), OpenLoad(arrivals), LAW, executors=executors)
    assert learned.on_time_share >= fixed.on_time_share


def test_while_others_have_deadlines_those_without_do_not_starve() -> None:
    arrivals = overload(1.5, 2)
    patient = [Arrival(each.at) for each in arrivals[::20]]
    found = simulate(AutoPolicy(LARGEST), OpenLoad([*arrivals, *patient]), LAW)
    served = [each for each in found.requests if each.arrival.deadline is None]
    assert {each.refused for each in served} == {None}
    assert max(each.latency for each in served) < 10 * seconds(LARGEST)
