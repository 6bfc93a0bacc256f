"""Who comes back once answered is learned from what callers do, by their names where they have any."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._batching._returning import MOST_CALLERS, NONE_EXPECTED, ReturningCallers
from tests.scenarios import steady

HORIZON = 0.1
BATCH = 0.4


def rounds(
    learned: ReturningCallers, names: list[list[str]], *, delay: float = 0.001, start: float = 0.0
) -> float:
    """Each list is answered at once and comes back after `delay`; the time of the last answer is returned."""
    now = start
    for callers in names:
        now += BATCH
        learned.completed(callers, now, HORIZON)
        for caller in callers:
            learned.arrived(caller, now + delay)
    now += BATCH
    learned.completed(names[-1], now, HORIZON)
    return now


def test_nobody_is_awaited_before_anybody_came_back() -> None:
    learned = ReturningCallers()
    assert learned.expected(0.0) == NONE_EXPECTED
    learned.completed(["a", "b"], 1.0, HORIZON)
    assert learned.expected(1.0) == NONE_EXPECTED


def test_most_of_those_who_came_back_five_times_are_awaited() -> None:
    learned = ReturningCallers()
    now = rounds(learned, [["a", "b", "c"]] * 5)
    coming = learned.expected(now)
    assert 1.5 < coming.count <= 3.0
    assert now < coming.until <= now + HORIZON


def test_a_caller_that_came_back_is_no_longer_awaited() -> None:
    learned = ReturningCallers()
    now = rounds(learned, [["a", "b"]] * 8)
    both = learned.expected(now).count
    learned.arrived("a", now + 0.001)
    assert learned.expected(now + 0.001).count == pytest.approx(both / 2)
    learned.arrived("b", now + 0.001)
    assert learned.expected(now + 0.001) == NONE_EXPECTED


def test_a_caller_that_does_not_come_is_no_longer_awaited_after_the_horizon() -> None:
    learned = ReturningCallers()
    now = rounds(learned, [["a"]] * 8)
    until = learned.expected(now).until
    assert learned.expected(math.nextafter(until, 0.0)) != NONE_EXPECTED
    assert learned.expected(until) == NONE_EXPECTED


def test_a_caller_that_stayed_away_a_few_times_is_not_awaited_any_more() -> None:
    learned = ReturningCallers()
    now = rounds(learned, [["a"]] * 8)
    stayed_away = 0
    while learned.expected(now) != NONE_EXPECTED:
        now += BATCH
        learned.completed(["a"], now, HORIZON)
        stayed_away += 1
    assert stayed_away <= 5


def test_one_name_with_many_requests_is_awaited_in_their_number() -> None:
    learned = ReturningCallers()
    now = rounds(learned, [["gateway"] * 10] * 4)
    assert learned.expected(now).count > 6


def test_names_that_are_new_each_time_are_awaited_as_one_group() -> None:
    learned = ReturningCallers()
    now = 0.0
    for number in range(8):
        now += BATCH
        learned.completed([f"{number} {each}" for each in range(10)], now, HORIZON)
        for each in range(10):
            learned.arrived(f"{number + 1} {each}", now + 0.001)
    now += BATCH
    learned.completed([f"8 {each}" for each in range(10)], now, HORIZON)
    assert learned.expected(now).count > 6


def test_requests_without_a_reply_address_are_a_caller_like_any_other() -> None:
    learned = ReturningCallers()
    now = 0.0
    for _ in range(8):
        now += BATCH
        learned.completed([None, None], now, HORIZON)
        learned.arrived(None, now + 0.001)
        learned.arrived(None, now + 0.001)
    now += BATCH
    learned.completed([None, None], now, HORIZON)
    assert learned.expected(now).count > 1


def test_a_name_that_sends_all_the_time_is_not_taken_for_one_that_comes_back() -> None:
    learned = ReturningCallers()
    now = 0.0
    for _ in range(30):
        for tick in range(1, 41):
            learned.arrived("gateway", now + tick / 100)
        now += BATCH
        learned.completed(["gateway"] * 10, now, HORIZON)
        assert learned.expected(now) == NONE_EXPECTED


def test_punctual_callers_are_awaited_a_little_longer_than_they_take() -> None:
    learned = ReturningCallers()
    now = rounds(learned, [["a"]] * 100, delay=0.01)
    assert learned.expected(now).until >= now + 0.01 + HORIZON / 20


def test_callers_whose_delays_differ_are_awaited_longer() -> None:
    def timeout(delays: list[float]) -> float:
        learned, now = ReturningCallers(), 0.0
        for _ in range(10):
            for delay in delays:
                now += BATCH
                learned.completed(["a"], now, HORIZON)
                learned.arrived("a", now + delay)
        now += BATCH
        learned.completed(["a"], now, HORIZON)
        return learned.expected(now).until - now

    assert timeout([0.006, 0.014]) > timeout([0.010, 0.010])


def test_later_than_the_horizon_is_no_return() -> None:
    learned = ReturningCallers()
    now = rounds(learned, [["a"]] * 20, delay=HORIZON * 1.5)
    assert learned.expected(now) == NONE_EXPECTED


def test_callers_of_several_executors_are_awaited_together() -> None:
    learned = ReturningCallers()
    now = 0.0
    for _ in range(8):
        now += BATCH
        learned.completed(["a"], now, HORIZON)
        learned.completed(["b"], now + 0.02, HORIZON)
        learned.arrived("a", now + 0.03)
        learned.arrived("b", now + 0.04)
    now += BATCH
    learned.completed(["a"], now, HORIZON)
    learned.completed(["b"], now + 0.02, HORIZON)
    assert learned.expected(now + 0.02).count > 1.2


def test_names_without_end_are_forgotten_the_oldest_first() -> None:
    learned = ReturningCallers()
    for number in range(MOST_CALLERS + 100):
        learned.completed([f"{number}"], number, HORIZON)
    assert len(learned._callers) == MOST_CALLERS
    assert f"{MOST_CALLERS + 99}" in learned._callers
    assert "0" not in learned._callers


times = st.integers(0, 20).map(lambda each: each / 16)
names = st.sampled_from(["a", "b", "c", None])
told = st.lists(st.tuples(times, st.lists(names, max_size=4), st.booleans()), max_size=40)


@steady
@given(told, st.floats(0, 1))
def test_whatever_happens_no_more_are_awaited_than_were_answered_and_only_for_the_horizon(
    events: list[tuple[float, list[str | None], bool]], horizon: float
) -> None:
    learned, now, answered = ReturningCallers(), 0.0, 0
    for gap, callers, is_arrival in events:
        now += gap
        if is_arrival:
            for caller in callers:
                learned.arrived(caller, now)
        elif callers:
            learned.completed(callers, now, horizon)
            answered += len(callers)
        coming = learned.expected(now)
        assert 0.0 <= coming.count <= answered
        assert coming == NONE_EXPECTED or now < coming.until <= now + horizon
        assert 0.0 <= coming.within < math.inf
