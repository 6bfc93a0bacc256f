"""What the live view makes of the workers' events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._gateway._tally import MOST_WORKERS, SHOWN, Tally
from rpcb_trio._messages import Trigger
from rpcb_trio.events import BatchEvent, StateEvent
from rpcb_trio.instruments import Condition
from tests.events.test_summary import events
from tests.scenarios import steady

WHO: dict[str, Any] = {
    "worker": "asr", "host": "h", "pid": 1, "queue": "asr", "device": None, "unix": 0.0
}  # fmt: skip


def batch(*waits_ms: float, **more: Any) -> BatchEvent:
    """A batch whose requests waited so long, and that took 100 ms more."""
    facts = {
        "id": 1,
        "size": len(waits_ms),
        "trigger": Trigger.IDLE,
        "wait_mean_ms": sum(waits_ms) / len(waits_ms),
        "wait_max_ms": max(waits_ms),
        "waits_ms": waits_ms,
        "predicted_ms": None,
        "service_ms": 90.0,
        "total_ms": max(waits_ms) + 100.0,
        "failed": 0,
        "waiting": 0,
    }
    return BatchEvent(**{**WHO, **facts, **more})


def state(condition: Condition = Condition.CONSUMING, **more: Any) -> StateEvent:
    facts = {"reason": None, "seconds": 1.0, "policy": "AutoPolicy", "max_batch_size": 32, "executors": 1}
    counts = dict.fromkeys(("waiting", "held", "received", "answered", "failed", "batches", "dropped"), 0)
    return StateEvent(**{**WHO, **facts, **counts, "condition": condition, "rss": None, **more})


@pytest.fixture
def tally() -> Tally:
    return Tally("asr")


def test_a_request_s_time_is_its_own_wait_and_what_came_after(tally: Tally) -> None:
    tally.take(batch(10.0, 30.0, 50.0), 0.0)
    view = tally.view(0.0)
    assert view.wait is not None
    assert view.total is not None
    assert (view.wait.p50, view.total.p50, view.total.p99) == (30.0, 130.0, 150.0)


def test_a_large_batch_counts_by_its_size_though_some_of_its_waits_are_told(tally: Tally) -> None:
    tally.take(batch(1.0), 0.0)
    tally.take(batch(7.0, 9.0, size=64), 0.0)
    view = tally.view(0.0)
    assert view.wait is not None
    assert view.wait.p50 in (7.0, 9.0)
    assert view.mean_size == 32.5


def test_the_rate_is_that_of_the_workers_counters_so_that_no_dropped_batch_lowers_it(tally: Tally) -> None:
    for second in range(21):
        for pid in (1, 2):
            told = state(pid=pid, answered=900 * second, failed=100 * second, unix=float(second))
            tally.take(told, float(second))
    assert (tally.view(20.0).rate, tally.view(20.0).failed) == (2000.0, 4000)
    for second in range(21, 31):
        tally.take(state(pid=1, answered=18_000, failed=2000, unix=float(second)), float(second))
    assert tally.view(30.0).rate == 0.0


def test_numbers_are_of_the_last_minute_and_bars_of_the_last_batches(tally: Tally) -> None:
    for size in range(1, SHOWN + 11):
        tally.take(batch(*[1.0] * size), 0.0)
    view = tally.view(59.0)
    assert [each.size for each in view.batches] == list(range(11, SHOWN + 11))
    assert view.mean_size == pytest.approx((SHOWN + 11) / 2)
    later = tally.view(61.0)
    assert (later.mean_size, later.total, len(later.batches)) == (None, None, SHOWN)


def test_requests_that_wait_are_those_of_all_its_workers(tally: Tally) -> None:
    tally.take(state(pid=1, waiting=3), 0.0)
    tally.take(state(pid=2, waiting=4), 0.0)
    tally.take(state(pid=2, waiting=1), 1.0)
    assert tally.view(1.5).waiting == 4


def test_a_worker_that_falls_silent_is_shown_so_and_then_no_longer(tally: Tally) -> None:
    tally.take(state(waiting=2), 0.0)
    assert [each.silent for each in tally.view(4.0).workers] == [False]
    assert [each.silent for each in tally.view(6.0).workers] == [True]
    assert not tally.is_over(29.0)
    assert tally.is_over(31.0)
    assert (tally.view(31.0).workers, tally.view(31.0).waiting) == ([], 0)


def test_a_worker_that_stopped_goes_soon(tally: Tally) -> None:
    tally.take(state(Condition.STOPPED), 0.0)
    assert [each.condition for each in tally.view(4.0).workers] == ["stopped"]
    assert tally.view(6.0).workers == []


def test_workers_without_end_are_not_kept_without_end(tally: Tally) -> None:
    for pid in range(2 * MOST_WORKERS):
        tally.take(state(pid=pid), 0.0)
    assert len(tally.view(0.0).workers) == MOST_WORKERS


def test_a_flood_of_batches_makes_no_flood_for_browsers(tally: Tally) -> None:
    for number in range(20_000):
        tally.take(batch(1.0, 2.0, 3.0, 4.0), number / 2000)
    assert len(msgspec.json.encode(tally.view(9.9))) < 20_000


@steady
@given(st.lists(events, max_size=30))
def test_whatever_is_told_there_is_a_view(told: list[StateEvent | BatchEvent]) -> None:
    tally = Tally("work")
    for second, event in enumerate(told):
        tally.take(event, float(second))
    assert msgspec.json.encode(tally.view(float(len(told))))
