from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._events import Counters, Observer, WorkerSummary
from rpcb_trio._events._counters import MOST_COUNTS
from rpcb_trio.batching import Trigger
from rpcb_trio.events import BatchEvent, StateEvent
from rpcb_trio.instruments import Condition
from tests.events.watching import state
from tests.scenarios import steady

START = 1000.0


def state_at(second: float, **facts: object) -> StateEvent:
    return msgspec.structs.replace(state(second), unix=START + second, **facts)


def batch(size: int = 4, **facts: object) -> BatchEvent:
    told = BatchEvent(
        worker="asr",
        host="h",
        pid=1,
        queue="work",
        device=None,
        unix=START,
        id=1,
        size=size,
        trigger=Trigger.SIZE,
        wait_mean_ms=5.0,
        wait_max_ms=10.0,
        waits_ms=(10.0, 0.0),
        predicted_ms=None,
        service_ms=20.0,
        total_ms=40.0,
        failed=0,
        waiting=0,
    )
    return msgspec.structs.replace(told, **facts)


def only(observer: Observer, now: float) -> WorkerSummary:
    [worker] = observer.summary(now).workers
    return worker


def test_rates_are_what_the_workers_counters_gained_within_the_last_ten_seconds() -> None:
    observer = Observer()
    for second in range(31):
        count = min(second, 25)
        told = state_at(second, answered=90 * count, failed=10 * count, batches=20 * count)
        observer.take(told, float(second))
    worker = only(observer, 30.0)
    assert (worker.requests_per_second, worker.failed_per_second, worker.batches_per_second) == (50, 5, 10)


def test_what_is_not_known_yet_is_none() -> None:
    observer = Observer()
    observer.take(state_at(0), 0.0)
    worker = only(observer, 0.5)
    unknown = (worker.requests_per_second, worker.mean_batch_size, worker.mean_wait_ms, worker.p99_total_ms)
    assert unknown == (None, None, None, None)
    assert (worker.triggers, worker.last_sizes) == ({}, ())


def test_means_weigh_requests_and_batches_and_forget_what_is_older_than_ten_seconds() -> None:
    observer = Observer()
    observer.take(state_at(0), 0.0)
    observer.take(batch(size=32, wait_mean_ms=1e6, service_ms=1e6), 0.0)
    observer.take(batch(size=1, wait_mean_ms=40.0, service_ms=10.0, trigger=Trigger.IDLE), 11.0)
    observer.take(batch(size=3, wait_mean_ms=20.0, service_ms=30.0), 12.0)
    worker = only(observer, 13.0)
    assert (worker.mean_batch_size, worker.mean_wait_ms, worker.mean_service_ms) == (2, 25, 20)
    assert worker.triggers == {"idle": 1, "size": 1}
    assert worker.last_sizes == (32, 1, 3)


def test_percentiles_are_of_requests_from_their_own_arrival() -> None:
    observer = Observer()
    observer.take(state_at(0), 0.0)
    observer.take(batch(size=99, wait_max_ms=8.0, waits_ms=(8.0, 4.0, 0.0), total_ms=20.0), 0.0)
    worker = only(observer, 1.0)
    assert (worker.p50_total_ms, worker.p99_total_ms) == (16, 20)
    observer.take(batch(size=1, wait_max_ms=0.0, waits_ms=(0.0,), total_ms=99.0), 0.0)
    assert only(observer, 1.0).p99_total_ms == 20
    observer.take(batch(size=1, wait_max_ms=0.0, waits_ms=(0.0,), total_ms=99.0), 0.0)
    assert only(observer, 1.0).p99_total_ms == 99


@steady
@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1e3)), min_size=1, max_size=30))
def test_percentiles_are_those_of_all_requests_in_order(batches: list[tuple[int, float]]) -> None:
    observer = Observer()
    observer.take(state_at(0), 0.0)
    for size, total in batches:
        observer.take(batch(size, wait_max_ms=0.0, waits_ms=(0.0,), total_ms=total), 0.0)
    totals = sorted(total for size, total in batches for _ in range(size))
    worker = only(observer, 1.0)
    assert worker.p50_total_ms == totals[math.ceil(0.50 * len(totals)) - 1]
    assert worker.p99_total_ms == totals[math.ceil(0.99 * len(totals)) - 1]


def test_who_is_silent_for_five_seconds_is_gone_and_later_forgotten() -> None:
    observer = Observer()
    observer.take(state_at(0, answered=0), 0.0)
    observer.take(state_at(1, answered=10, held=3), 1.0)
    assert not only(observer, 6.0).gone
    summary = observer.summary(6.1)
    assert summary.workers[0].gone
    assert summary.workers[0].requests_per_second is None
    assert (summary.queues[0].workers, summary.queues[0].held) == (0, 0)
    assert observer.summary(16.1).workers == []
    observer.take(state_at(17), 17.0)
    assert not only(observer, 17.0).gone


def test_a_worker_that_begins_anew_under_the_same_name_has_no_negative_rates() -> None:
    observer = Observer()
    observer.take(state_at(0, answered=500), 0.0)
    observer.take(state_at(1, answered=0), 1.0)
    observer.take(state_at(2, answered=10), 2.0)
    assert only(observer, 2.0).requests_per_second == 10
    observer.take(state_at(-500, answered=20), 3.0)
    assert only(observer, 3.0).requests_per_second is None


def test_a_queue_sums_up_its_workers_and_knows_its_depth() -> None:
    observer = Observer()
    for pid in (1, 2, 3):
        for second in (0, 1):
            told = state_at(second, pid=pid, answered=10 * second, waiting=1, held=2, failed=3)
            observer.take(told, float(second))
    observer.take(state_at(1, pid=3, condition=Condition.STOPPED), 1.0)
    observer.take(state_at(1, queue="other"), 1.0)
    other, work = observer.summary(1.0, {"work": 7}).queues
    assert (other.queue, other.ready, other.workers) == ("other", None, 1)
    assert (work.ready, work.workers, work.requests_per_second) == (7, 2, 20)
    assert (work.waiting, work.held, work.failed) == (2, 4, 6)


def test_a_worker_whose_clock_stands_still_fills_no_memory() -> None:
    counters = Counters(10.0)
    for answered in range(2 * MOST_COUNTS):
        counters.take(state_at(0, answered=answered))
    assert len(counters) == MOST_COUNTS
    assert counters.gained(10.0) is None


def test_a_flood_of_workers_or_batches_fills_no_memory() -> None:
    observer = Observer()
    for pid in range(1100):
        observer.take(state_at(0, pid=pid), 0.0)
    for _ in range(2000):
        observer.take(batch(), 0.0)
    summary = observer.summary(0.0)
    assert len(summary.workers) == 1000
    assert sum(summary.workers[1].triggers.values()) == 500


counts = st.integers(0, 2**53)
numbers = st.floats(allow_nan=False, allow_infinity=False)
pids = st.integers(0, 2)
events = st.one_of(
    st.builds(state_at, numbers, pid=pids, answered=counts, failed=counts, batches=counts),
    st.builds(
        batch,
        counts,
        pid=pids,
        total_ms=numbers,
        wait_mean_ms=numbers,
        service_ms=numbers,
        waits_ms=st.lists(numbers, max_size=3).map(tuple),
    ),
)


@steady
@given(st.lists(events, max_size=30))
def test_whatever_is_told_there_is_a_summary(told: list[StateEvent | BatchEvent]) -> None:
    observer = Observer()
    for second, event in enumerate(told):
        observer.take(event, float(second))
    assert msgspec.json.encode(observer.summary(float(len(told))))


@pytest.mark.parametrize("count", [1, 40])
def test_the_last_sizes_are_the_newest(count: int) -> None:
    observer = Observer()
    observer.take(state_at(0), 0.0)
    for size in range(1, count + 1):
        observer.take(batch(size), 0.0)
    assert only(observer, 0.0).last_sizes == tuple(range(1, count + 1))[-24:]
