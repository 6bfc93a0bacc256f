"""The bounds that policies are measured against are true: no schedule beats them, and one attains them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.policy.bounds import Law, least_mean_latency, lock_step_latency, most_on_time
from benches.policy.chain import best_threshold, control_limit_mean_latency, greedy_mean_latency
from tests.scenarios import steady

tenths = st.integers(0, 60).map(lambda number: number / 10)
times = st.lists(tenths, min_size=1, max_size=9).map(sorted)
laws = st.lists(st.integers(1, 30).map(lambda number: number / 10), min_size=1, max_size=4)
"""Seconds by size, in any order: a bound may not lean on larger batches taking longer."""


def law_of(durations: list[float]) -> Law:
    return lambda size: durations[size - 1]


def compositions(total: int, largest: int) -> Iterator[list[int]]:
    if total == 0:
        yield []
    for first in range(1, min(total, largest) + 1):
        for rest in compositions(total - first, largest):
            yield [first, *rest]


def mean_latency(arrivals: list[float], sizes: list[int], law: Law) -> float:
    done, end, total = 0, 0.0, 0.0
    for size in sizes:
        members = arrivals[done : done + size]
        end = max(end, members[-1]) + law(size)
        total += sum(end - arrived for arrived in members)
        done += size
    return total / len(arrivals)


def schedules(requests: frozenset[int], largest: int) -> Iterator[list[tuple[int, ...]]]:
    """Every sequence of batches of any of the requests, in any order."""
    yield []
    for size in range(1, min(len(requests), largest) + 1):
        for first in combinations(sorted(requests), size):
            for rest in schedules(requests - set(first), largest):
                yield [first, *rest]


def ends_of(schedule: Iterable[tuple[int, ...]], arrivals: list[float], law: Law) -> dict[int, float]:
    ends: dict[int, float] = {}
    end = 0.0
    for batch in schedule:
        end = max(end, *(arrivals[each] for each in batch)) + law(len(batch))
        ends |= dict.fromkeys(batch, end)
    return ends


@steady
@given(arrivals=times.map(lambda found: found[:4]), durations=laws)
def test_no_other_order_has_less_latency(arrivals: list[float], durations: list[float]) -> None:
    law = law_of(durations)
    every = schedules(frozenset(range(len(arrivals))), len(durations))
    ends = [ends_of(each, arrivals, law) for each in every]
    best = min(sum(found.values()) for found in ends if len(found) == len(arrivals)) - sum(arrivals)
    assert least_mean_latency(arrivals, law, len(durations)) == pytest.approx(best / len(arrivals), abs=1e-9)


@steady
@given(pairs=st.lists(st.tuples(tenths, tenths), min_size=1, max_size=5), durations=laws.map(sorted))
def test_no_schedule_answers_more_in_time(pairs: list[tuple[float, float]], durations: list[float]) -> None:
    arrivals, deadlines = (sorted(each) for each in zip(*pairs, strict=True))
    law = law_of(durations)
    best = max(
        sum(end <= deadlines[each] + 1e-9 for each, end in ends_of(schedule, arrivals, law).items())
        for schedule in schedules(frozenset(range(len(arrivals))), len(durations))
    )
    assert most_on_time(arrivals, deadlines, law, len(durations)) == best


def test_all_are_in_time_where_nothing_is_due() -> None:
    assert most_on_time([0.0, 1.0, 1.0, 5.0], [float("inf")] * 4, float, 2) == 4


def test_one_that_would_delay_many_is_given_up() -> None:
    assert most_on_time([0.0, 0.5, 0.5], [1.1, 1.6, 1.6], lambda _: 1.0, 2) == 2


@pytest.mark.parametrize(
    ("deadlines", "words"),
    [([1.0], "1 deadlines for 2"), ([2.0, 1.0], "in the order"), ([1.0, float("nan")], "in the order")],
)
def test_deadlines_out_of_order_are_refused(deadlines: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        most_on_time([0.0, 0.0], deadlines, float, 2)


@steady
@given(arrivals=times, durations=laws)
def test_the_least_mean_latency_is_that_of_the_best_division_into_batches(
    arrivals: list[float], durations: list[float]
) -> None:
    law = law_of(durations)
    best = min(mean_latency(arrivals, sizes, law) for sizes in compositions(len(arrivals), len(durations)))
    assert least_mean_latency(arrivals, law, len(durations)) == pytest.approx(best, abs=1e-9)


def test_the_least_mean_latency_does_not_depend_on_the_hour() -> None:
    arrivals = [0.0, 0.25, 0.5, 3.0]
    late = [time + 2.0**20 for time in arrivals]
    assert least_mean_latency(late, lambda size: size / 4, 2) == least_mean_latency(
        arrivals, lambda size: size / 4, 2
    )


def test_callers_in_lock_step_take_the_time_of_one_batch() -> None:
    assert lock_step_latency(10, lambda size: 0.150 + 0.025 * size) == pytest.approx(0.400)


def test_more_callers_than_a_batch_holds_take_turns_at_the_best_rate() -> None:
    assert lock_step_latency(48, lambda size: 0.020 + 0.001 * size, 32) == pytest.approx(1.5 * 0.052)
    assert lock_step_latency(4, lambda size: size**2 / 10) == pytest.approx(0.4)


@pytest.mark.parametrize("arrivals", [[], [2.0, 1.0], [0.0, float("inf")]])
def test_arrivals_out_of_order_are_refused(arrivals: list[float]) -> None:
    with pytest.raises(ValueError, match="arrivals must be"):
        least_mean_latency(arrivals, float, 2)


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan")])
def test_a_law_without_positive_times_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="the law must give"):
        least_mean_latency([0.0], lambda _: duration, 2)


def test_a_law_by_which_late_requests_are_of_use_is_refused() -> None:
    with pytest.raises(ValueError, match="a larger batch less time"):
        most_on_time([0.0, 0.0], [0.0, 0.1], law_of([0.2, 0.1]), 2)


def test_bounds_without_room_or_callers_are_refused() -> None:
    with pytest.raises(ValueError, match="max_batch_size is 0"):
        least_mean_latency([0.0], float, 0)
    with pytest.raises(ValueError, match="there are 0 callers"):
        lock_step_latency(0, float)


def simulated(rate: float, law: Law, max_batch_size: int, threshold: int, *, requests: int) -> float:
    """The mean latency of one long Poisson run."""
    gaps = np.random.default_rng(1).exponential(1 / rate, requests)
    arrivals = np.append(np.cumsum(gaps), np.inf).tolist()
    done, end, total = 0, 0.0, 0.0
    while done <= requests - threshold:
        start = max(end, arrivals[done + threshold - 1])
        size = threshold
        while size < max_batch_size and arrivals[done + size] <= start:
            size += 1
        end = start + law(size)
        total += size * end - sum(arrivals[done : done + size])
        done += size
    return total / done


def twenty_and_one(size: int) -> float:
    return 0.020 + 0.001 * size


@pytest.mark.parametrize(("rate", "milliseconds"), [(50, 29.93), (200, 38.62), (400, 51.43), (550, 69.54)])
def test_greedy_has_the_latency_that_is_known_of_it(rate: float, milliseconds: float) -> None:
    assert greedy_mean_latency(rate, twenty_and_one, 32) * 1000 == pytest.approx(milliseconds, abs=0.01)


def test_a_batch_size_of_one_has_the_latency_of_a_plain_queue() -> None:
    load = 0.8
    queueing = load / (2 * (1 - load))  # Pollaczek and Khinchine, for constant service
    assert greedy_mean_latency(load / 3.0, lambda _: 3.0, 1) == pytest.approx(3.0 * (1 + queueing))


@pytest.mark.parametrize("threshold", [1, 3])
@pytest.mark.parametrize("rate", [100, 500])
def test_a_control_limit_has_the_latency_of_a_long_simulation(rate: float, threshold: int) -> None:
    exact = control_limit_mean_latency(rate, twenty_and_one, 32, threshold)
    assert simulated(rate, twenty_and_one, 32, threshold, requests=100_000) == pytest.approx(exact, rel=0.01)


def test_the_best_threshold_is_no_worse_than_any() -> None:
    law = law_of([0.150 + 0.025 * size for size in range(1, 13)])
    every = [control_limit_mean_latency(20, law, 12, threshold) for threshold in range(1, 13)]
    assert best_threshold(20, law, 12) == (2, min(every))
    assert every[1] == min(every) < every[0] == greedy_mean_latency(20, law, 12)


def test_foreknowledge_never_harms() -> None:
    arrivals = np.cumsum(np.random.default_rng(2).exponential(1 / 300, 2000)).tolist()
    assert least_mean_latency(arrivals, twenty_and_one, 32) < best_threshold(300, twenty_and_one, 32)[1]


@pytest.mark.parametrize(
    ("rate", "threshold", "words"),
    [
        (0, 1, "rate is 0"),
        (616, 1, "more than batches of 32 can serve"),
        (615.38, 1, "too near 1"),
        (50, 0, "threshold is 0"),
        (50, 33, "threshold is 33"),
    ],
)
def test_a_load_without_a_mean_latency_is_refused(rate: float, threshold: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        control_limit_mean_latency(rate, twenty_and_one, 32, threshold)
