from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._batching._service_time import ServiceTime
from rpcb_trio._messages import Work
from tests.scenarios import steady

LARGEST = 32
LAWS: dict[str, Callable[[int], float]] = {
    "20+b ms": lambda size: 0.020 + 0.001 * size,
    "150+25b ms": lambda size: 0.150 + 0.025 * size,
    "2+0.2b ms": lambda size: 0.002 + 0.0002 * size,
}
seeds = st.integers(0, 2**32)
fixed_parts = st.floats(1e-4, 1.0)
slopes = st.floats(1e-5, 0.1)
sizes = st.integers(1, LARGEST)


def of(size: int, cost: float = 1.0) -> Work:
    return Work(size, cost, size * cost)


def learn(
    learned: ServiceTime,
    law: Callable[[int], float],
    batches: Iterable[int],
    *,
    noise: Callable[[], float] = lambda: 1.0,
) -> ServiceTime:
    for size in batches:
        learned.observe(of(size), law(size) * noise())
    return learned


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - noise, not secrets


def log_normal(rng: Random, spread: float) -> Callable[[], float]:
    return lambda: math.exp(rng.gauss(0, spread))


def mixed(rng: Random, count: int) -> list[int]:
    return [rng.randint(1, LARGEST) for _ in range(count)]


def worst_error(
    learned: ServiceTime, law: Callable[[int], float], at: Sequence[int] = (1, 8, LARGEST)
) -> float:
    return max(abs(learned.predict(of(size)) / law(size) - 1) for size in at)


def test_nothing_is_predicted_before_anything_is_known() -> None:
    learned = ServiceTime()
    assert not learned.known
    assert learned.predict(of(8)) == 0.0
    assert learned.spread == 0.25
    assert learned.padding_matters


@steady
@given(sizes, sizes, st.floats(1e-3, 10))
def test_one_batch_tells_of_every_other_size_within_half_and_double_the_share(
    seen: int, asked: int, seconds: float
) -> None:
    learned = learn(ServiceTime(), lambda _: seconds, [seen])
    assert learned.known
    assert learned.predict(of(asked)) == pytest.approx(seconds * (0.5 + 0.5 * asked / seen), rel=1e-6)


@steady
@given(fixed_parts, slopes, st.sets(st.sampled_from([1, 4, 8, 16, LARGEST]), min_size=2, max_size=3))
def test_a_line_is_known_within_a_few_percent_after_a_few_batches_at_two_or_three_sizes(
    fixed: float, slope: float, seen: set[int]
) -> None:
    learned = learn(ServiceTime(), lambda size: fixed + slope * size, list(seen) * 4)
    assert worst_error(learned, lambda size: fixed + slope * size, at=range(min(seen), max(seen) + 1)) < 0.06


@steady
@given(fixed_parts, slopes, seeds, st.sampled_from([1e-3, 1.0, 1e6]))
def test_the_unit_of_cost_does_not_matter(fixed: float, slope: float, seed: int, unit: float) -> None:
    learned = ServiceTime()
    for size in mixed(seeded(seed), 60):
        learned.observe(of(size, unit), fixed + slope * size)
    for size in (1, 8, LARGEST):
        assert learned.predict(of(size, unit)) == pytest.approx(fixed + slope * size, rel=0.03)


@pytest.mark.parametrize("name", LAWS)
def test_noise_of_20_percent_leaves_an_error_of_a_few_percent_after_200_batches(name: str) -> None:
    errors = []
    for seed in range(40):
        rng = seeded(seed)
        learned = learn(ServiceTime(), LAWS[name], mixed(rng, 200), noise=log_normal(rng, 0.2))
        errors.append(worst_error(learned, LAWS[name]))
        assert 0.12 < learned.spread < 0.3
    assert sorted(errors)[20] < 0.07
    assert max(errors) < 0.25


@pytest.mark.parametrize("narrow", [(LARGEST, LARGEST), (1, 1), (29, LARGEST)])
def test_the_slope_does_not_drift_while_one_size_alone_is_seen_10_000_times(narrow: tuple[int, int]) -> None:
    law = LAWS["20+b ms"]
    rng = seeded(7)
    learned = learn(ServiceTime(), law, mixed(rng, 100), noise=log_normal(rng, 0.1))
    learn(learned, law, (rng.randint(*narrow) for _ in range(10_000)), noise=log_normal(rng, 0.1))
    assert worst_error(learned, law) < 0.1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_whole_law_scales_when_the_machine_changes_while_one_size_alone_is_seen(factor: float) -> None:
    law = LAWS["20+b ms"]
    rng = seeded(3)
    learned = learn(ServiceTime(), law, mixed(rng, 100), noise=log_normal(rng, 0.1))
    learn(learned, lambda size: factor * law(size), [LARGEST] * 1000, noise=log_normal(rng, 0.1))
    assert worst_error(learned, lambda size: factor * law(size)) < 0.15


def test_the_whole_law_follows_a_machine_that_slows_down_little_by_little() -> None:
    law = LAWS["20+b ms"]
    rng = seeded(5)
    learned = learn(ServiceTime(), law, mixed(rng, 100), noise=log_normal(rng, 0.1))
    for step in range(1000):
        learned.observe(of(LARGEST), law(LARGEST) * (1 + step / 1000) * rng.lognormvariate(0, 0.1))
    assert worst_error(learned, lambda size: 2 * law(size)) < 0.2


@pytest.mark.parametrize("name", LAWS)
def test_one_batch_in_20_that_takes_10_times_as_long_moves_predictions_by_a_few_percent(name: str) -> None:
    moved = []
    for seed in range(20):
        rng = seeded(seed)
        learned, undisturbed = ServiceTime(), ServiceTime()
        for count, size in enumerate(mixed(rng, 300)):
            seconds = LAWS[name](size) * rng.lognormvariate(0, 0.05)
            undisturbed.observe(of(size), seconds)
            learned.observe(of(size), seconds * (10 if rng.random() < 0.05 else 1))
            if count > 100 and count % 7 == 0:
                moved += [
                    abs(learned.predict(of(each)) / undisturbed.predict(of(each)) - 1)
                    for each in (1, 8, LARGEST)
                ]
        assert learned.spread < 0.1
    assert sum(moved) / len(moved) < 0.02
    assert max(moved) < 0.08


@steady
@given(st.sampled_from(sorted(LAWS)), st.sampled_from([10, 50]), sizes, seeds)
def test_a_cold_start_is_got_over_within_a_few_batches(name: str, slow: int, first: int, seed: int) -> None:
    learned = learn(ServiceTime(), lambda size: slow * LAWS[name](size), [first])
    later = [first, 1, LARGEST, *mixed(seeded(seed), 4)]
    learn(learned, LAWS[name], later)
    assert worst_error(learned, LAWS[name]) < 0.1


@pytest.mark.parametrize("name", LAWS)
def test_a_size_that_is_slow_the_first_time_alone_is_not_believed_to_be_slow(name: str) -> None:
    law, errors = LAWS[name], []
    for seed in range(60):
        learned = learn(ServiceTime(), law, [1, LARGEST, 4, 1, LARGEST, 4])
        seen = {1, 4, LARGEST}
        for size in mixed(seeded(seed), 200):
            learned.observe(of(size), law(size) * (1 if size in seen else 10))
            seen.add(size)
        errors.append(worst_error(learned, law, at=range(1, LARGEST + 1)))
    assert sorted(errors)[30] < 0.05
    assert sorted(errors)[54] < 0.15  # 9 in 10; else most of the first batches were slow, as if all were


MIXES: dict[str, Callable[[Random], int]] = {
    "all sizes": lambda rng: rng.randint(1, LARGEST),
    "one size": lambda _: LARGEST,
    "two sizes": lambda rng: rng.choice((1, LARGEST)),
    "mostly small": lambda rng: min(LARGEST, 1 + int(rng.expovariate(0.2))),
}


@pytest.mark.parametrize("factor", [2.0, 0.5])
@pytest.mark.parametrize("mix", MIXES)
def test_a_device_that_becomes_twice_as_slow_or_fast_is_believed_within_20_batches(
    mix: str, factor: float
) -> None:
    law = LAWS["20+b ms"]
    errors = []
    for seed in range(40):
        rng = seeded(seed)
        noise = log_normal(rng, rng.uniform(0.1, 0.2))
        learned = learn(ServiceTime(), law, (MIXES[mix](rng) for _ in range(150)), noise=noise)
        learn(learned, lambda size: factor * law(size), (MIXES[mix](rng) for _ in range(20)), noise=noise)
        common = (LARGEST,) if mix == "one size" else (1, 8)
        errors.append(worst_error(learned, lambda size: factor * law(size), at=common))
    assert sorted(errors)[35] < 0.15  # 9 in 10
    assert sorted(errors)[20] < 0.08


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("padding", [True, False])
def test_the_law_that_a_service_follows_is_found_and_kept(padding: bool, spread: float) -> None:  # noqa: FBT001 - of the parameters
    rng = seeded(11)
    learned = ServiceTime()
    said = []
    for _ in range(600):
        work = Work.of([rng.lognormvariate(1.5, 0.7) for _ in range(rng.randint(1, 16))])
        measure = work.padded if padding else work.total
        learned.observe(work, (0.1 + 0.01 * measure) * rng.lognormvariate(0, spread))
        said.append(learned.padding_matters)
    assert all(each is padding for each in said[100:])


def test_padding_is_thought_to_matter_while_all_costs_are_equal() -> None:
    rng = seeded(2)
    learned = learn(ServiceTime(), LAWS["20+b ms"], mixed(rng, 200), noise=log_normal(rng, 0.2))
    assert learned.padding_matters


NOT_LINES: dict[str, tuple[Callable[[int], float], float]] = {
    "a staircase of 8": (lambda size: 0.005 + 0.02 * math.ceil(size / 8), 1.5),
    "a plateau, then a line": (lambda size: 0.02 * max(1.0, size / 8), 1.15),
    "superlinear": (lambda size: 0.001 * size**1.5, 1.15),
    "a root": (lambda size: 0.01 * size**0.5, 1.15),
}


@pytest.mark.parametrize("name", NOT_LINES)
def test_a_device_that_is_not_linear_is_followed_within_a_factor(name: str) -> None:
    law, factor = NOT_LINES[name]
    rng = seeded(1)
    learned = learn(ServiceTime(), law, mixed(rng, 600), noise=log_normal(rng, 0.05))
    for size in range(1, LARGEST + 1):
        assert law(size) / factor < learned.predict(of(size)) < law(size) * factor


anything = st.floats(allow_nan=True, allow_infinity=True)
durations = st.one_of(anything, st.just(0.0), st.floats(1e-6, 1e3))
costs = st.one_of(st.just(0.0), st.floats(0, 1e3), st.floats(0, 1e200))
works = st.lists(costs, min_size=1, max_size=4).map(Work.of)


@steady
@given(st.lists(st.tuples(works, durations), max_size=60), st.lists(works, min_size=2, max_size=10))
def test_whatever_is_observed_predictions_are_finite_positive_and_never_less_for_more_work(
    observed: list[tuple[Work, float]], asked: list[Work]
) -> None:
    learned = ServiceTime()
    for work, seconds in observed:
        learned.observe(work, seconds)
    assert math.isfinite(learned.spread)
    assert learned.spread > 0

    def measure(work: Work) -> float:
        return work.padded if learned.padding_matters else work.total

    predicted = [learned.predict(work) for work in sorted(asked, key=measure)]
    assert all(math.isfinite(each) for each in predicted)
    assert all(each > 0 for each in predicted) or not learned.known
    assert all(less <= more * (1 + 1e-9) for less, more in pairwise(predicted))


@steady
@given(st.lists(st.tuples(works, durations), max_size=30), anything, anything)
def test_what_is_not_a_time_or_not_a_work_changes_nothing(
    observed: list[tuple[Work, float]], cost: float, seconds: float
) -> None:
    learned = ServiceTime()
    for work, took in observed:
        learned.observe(work, took)
    before = learned.predict(of(3)), learned.spread
    for senseless in (math.nan, math.inf, -math.inf, -1.0):
        learned.observe(of(3), senseless)
    learned.observe(Work(2, math.nan, math.nan), 1.0)
    learned.observe(Work(2, math.inf, math.inf), 1.0)
    assert (learned.predict(of(3)), learned.spread) == before
    learned.observe(Work(1, cost, cost), seconds)
    assert math.isfinite(learned.predict(Work(1, cost, cost)))


def test_batches_of_one_size_and_no_cost_are_learned_as_their_mean() -> None:
    learned = ServiceTime()
    for _ in range(50):
        learned.observe(Work(1, 0.0, 0.0), 0.3)
    assert learned.predict(Work(1, 0.0, 0.0)) == pytest.approx(0.3)
    assert learned.predict(Work(5, 0.0, 0.0)) == pytest.approx(0.3)


def test_what_is_kept_does_not_grow_with_the_kinds_of_work() -> None:
    rng = seeded(0)
    learned = ServiceTime()
    for _ in range(5_000):
        cost = 10 ** rng.uniform(-9, 9)
        learned.observe(Work(1, cost, cost), 0.1 + cost)
    assert len(learned._padded._nodes) <= 48


def test_what_is_kept_does_not_grow_where_each_new_kind_of_work_is_a_surprise() -> None:
    learned = ServiceTime()
    for power in range(60):
        work = Work(1, 2.0**power, 2.0**power)
        for _ in range(4):
            learned.observe(work, 1.0)
    for power in range(60):
        between = 2.0 ** (power + 0.5)
        learned.observe(Work(1, between, between), 0.001)
    assert len(learned._padded._nodes) <= 48
