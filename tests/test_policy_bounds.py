"""The bounds that policies are measured against are true: no schedule beats them, and one attains them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.policy.bounds import Law, least_mean_latency, lock_step_latency
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


def test_bounds_without_room_or_callers_are_refused() -> None:
    with pytest.raises(ValueError, match="max_batch_size is 0"):
        least_mean_latency([0.0], float, 0)
    with pytest.raises(ValueError, match="there are 0 callers"):
        lock_step_latency(0, float)
