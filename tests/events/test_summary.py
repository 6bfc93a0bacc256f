"""The events of all workers, summed up: what `top` and the live page show."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._events import Observer, QueueSummary, WorkerSummary
from rpcb_trio._events._counters import MOST_COUNTS, Counters
from rpcb_trio._events._summary import LAST_BATCHES, MOST_BATCHES, MOST_QUEUES, MOST_WORKERS, Percentiles
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
    [worker] = observer.workers(now)
    return worker


@pytest.fixture
def observer() -> Observer:
    """One that knows a worker, which has heard of no batch yet."""
    observer = Observer()
    observer.take(state_at(0), 0.0)
    return observer


def work(observer: Observer, now: float = 0.0) -> QueueSummary:
    return observer.queue("work", now)


def test_rates_are_what_the_workers_counters_gained_within_the_last_ten_seconds() -> None:
    observer = Observer()
    for second in range(31):
        count = min(second, 25)
        told = state_at(second, answered=90 * count, failed=10 * count, batches=20 * count)
        observer.take(told, float(second))
    worker = only(observer, 30.0)
    assert (worker.requests_per_second, worker.failed_per_second, worker.batches_per_second) == (50, 5, 10)
    assert work(observer, 30.0).failed_in_a_minute == 250


def test_what_is_not_known_yet_is_none(observer: Observer) -> None:
    worker, queue = only(observer, 0.5), work(observer, 0.5)
    unknown = (worker.requests_per_second, worker.mean_batch_size, worker.mean_wait_ms, worker.p99_total_ms)
    assert unknown == (None, None, None, None)
    assert (worker.triggers, worker.last_sizes) == ({}, ())
    assert (queue.mean_batch_size, queue.wait, queue.service, queue.total) == (None, None, None, None)


def test_means_weigh_requests_and_batches_and_forget_what_is_older_than_a_minute(observer: Observer) -> None:
    observer.take(batch(size=32, wait_mean_ms=1e6, service_ms=1e6), 0.0)
    observer.take(batch(size=1, wait_mean_ms=40.0, service_ms=10.0, trigger=Trigger.IDLE), 61.0)
    observer.take(batch(size=3, wait_mean_ms=20.0, service_ms=30.0), 62.0)
    worker = only(observer, 63.0)
    assert (worker.mean_batch_size, worker.mean_wait_ms, worker.mean_service_ms) == (2, 25, 20)
    assert (worker.triggers, worker.last_sizes) == ({"idle": 1, "size": 1}, (1, 3))
    assert work(observer, 63.0).mean_batch_size == 2


def test_a_requests_time_is_its_own_wait_and_what_came_after(observer: Observer) -> None:
    observer.take(batch(size=99, wait_max_ms=8.0, waits_ms=(8.0, 4.0, 0.0), total_ms=20.0), 0.0)
    queue, worker = work(observer), only(observer, 1.0)
    assert queue.wait == Percentiles(4, 8, 8)
    assert queue.total == Percentiles(16, 20, 20)
    assert (worker.p50_total_ms, worker.p99_total_ms) == (16, 20)


def test_a_batch_counts_by_its_size_though_some_of_its_waits_are_known(observer: Observer) -> None:
    observer.take(batch(size=99, wait_max_ms=8.0, waits_ms=(8.0, 4.0), total_ms=20.0), 0.0)
    for above in (False, False, True):  # the 99th percentile of 99, 100 and 101 requests
        assert (only(observer, 1.0).p99_total_ms == 99) is above
        observer.take(batch(size=1, wait_max_ms=0.0, waits_ms=(0.0,), total_ms=99.0), 0.0)


@steady
@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1e3)), min_size=1, max_size=30))
def test_percentiles_are_those_of_all_requests_in_order(batches: list[tuple[int, float]]) -> None:
    observer = Observer()
    observer.take(state_at(0), 0.0)
    for size, total in batches:
        observer.take(batch(size, wait_max_ms=0.0, waits_ms=(0.0,), total_ms=total), 0.0)
    totals = sorted(total for size, total in batches for _ in range(size))
    worker = only(observer, 1.0)
    for percent, found in ((50, worker.p50_total_ms), (99, worker.p99_total_ms)):
        assert found == pytest.approx(totals[math.ceil(percent / 100 * len(totals)) - 1], abs=0.001)
    assert work(observer).total == Percentiles.of((total, 1) for total in totals)


def test_a_worker_that_is_silent_for_five_seconds_is_gone_and_later_forgotten() -> None:
    observer = Observer()
    observer.take(state_at(0, answered=0), 0.0)
    observer.take(state_at(1, answered=10, held=3), 1.0)
    assert not only(observer, 6.0).gone
    worker, queue = only(observer, 6.1), work(observer, 6.1)
    assert (worker.gone, worker.requests_per_second) == (True, None)
    assert (queue.workers, queue.held, queue.requests_per_second) == (0, 0, 0)
    observer.forget(30.9)
    assert observer.workers(30.9)
    observer.forget(31.1)
    assert (observer.workers(31.1), observer.queues) == ([], [])
    observer.take(state_at(32), 32.0)
    assert not only(observer, 32.0).gone


def test_a_worker_that_has_stopped_has_no_rate_and_goes_soon() -> None:
    observer = Observer()
    observer.take(state_at(0, answered=0), 0.0)
    observer.take(state_at(1, answered=10, condition=Condition.STOPPED), 1.0)
    worker = only(observer, 1.0)
    assert (worker.condition, worker.gone, worker.requests_per_second) == (Condition.STOPPED, False, 0)
    observer.forget(5.9)
    assert observer.workers(5.9)
    observer.forget(6.1)
    assert observer.workers(6.1) == []


def test_a_queue_with_messages_and_without_workers_stays_in_sight(observer: Observer) -> None:
    observer.forget(100.0, {"work": 7})
    assert (observer.queues, observer.queue("work", 100.0, 7).workers) == (["work"], 0)
    observer.forget(200.0, {"work": 0})
    assert observer.queues == []


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
    assert observer.queues == ["other", "work"]
    summary = observer.queue("work", 1.0, 7)
    assert (summary.ready, summary.workers, summary.requests_per_second) == (7, 2, 20)
    assert (summary.waiting, summary.held, summary.failed) == (2, 4, 6)
    assert (observer.queue("other", 1.0).ready, observer.queue("other", 1.0).workers) == (None, 1)


def test_a_queues_last_batches_are_those_of_all_its_workers_as_they_came() -> None:
    observer = Observer()
    for pid in (1, 2):
        observer.take(state_at(0, pid=pid), 0.0)
    for size in range(LAST_BATCHES + 10):
        observer.take(batch(size, pid=1 + size % 2), float(size))
    assert [each.size for each in observer.last_batches("work")] == list(range(10, LAST_BATCHES + 10))


def test_a_queues_workers_are_known_without_summing_up_their_batches(observer: Observer) -> None:
    observer.take(state_at(0, queue="other"), 0.0)
    summary = only_of(observer.workers(1.0), "work")
    [known] = observer.states("work", 1.0)
    assert all(getattr(known, field) == getattr(summary, field) for field in known.__struct_fields__)


def only_of(workers: list[WorkerSummary], queue: str) -> WorkerSummary:
    [worker] = [each for each in workers if each.queue == queue]
    return worker


def test_a_worker_whose_clock_stands_still_fills_no_memory() -> None:
    counters = Counters(10.0)
    for answered in range(2 * MOST_COUNTS):
        counters.take(state_at(0, answered=answered))
    assert len(counters) == MOST_COUNTS
    assert counters.gained(10.0) is None


def test_a_flood_of_workers_queues_or_batches_fills_no_memory() -> None:
    observer = Observer()
    for queue in range(2 * MOST_QUEUES):
        observer.take(state_at(0, queue=f"{queue:04}"), 0.0)
    for pid in range(2 * MOST_WORKERS):
        observer.take(state_at(0, queue="0000", pid=pid), 0.0)
    for _ in range(2 * MOST_BATCHES):
        observer.take(batch(queue="0000"), 0.0)
    assert len(observer.queues) == MOST_QUEUES
    assert len(observer.workers(0.0)) == MOST_WORKERS
    assert sum(observer.workers(0.0)[1].triggers.values()) == MOST_BATCHES


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
def test_whatever_is_published_there_is_a_summary(told: list[StateEvent | BatchEvent]) -> None:
    observer = Observer()
    for second, event in enumerate(told):
        observer.take(event, float(second))
    now = float(len(told))
    assert msgspec.json.encode(
        [observer.workers(now), [observer.queue(each, now) for each in observer.queues]]
    )


@pytest.mark.parametrize("count", [1, 40])
def test_the_last_sizes_are_the_newest(count: int) -> None:
    observer = Observer()
    observer.take(state_at(0), 0.0)
    for size in range(1, count + 1):
        observer.take(batch(size), 0.0)
    assert only(observer, 0.0).last_sizes == tuple(range(1, count + 1))[-24:]
