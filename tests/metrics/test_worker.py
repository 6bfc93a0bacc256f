"""What a worker counts, exactly, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, FixedPolicy, Instrument, MemoryBroker, RequestError, Topology
from rpcb_trio._metrics._counts import MOST_CODES, Histogram
from rpcb_trio.metrics import MetricsInstrument
from rpcb_trio.testing import VirtualExecutor
from tests.metrics.samples import buckets, samples, value
from tests.scenarios import QUEUE, Shouting, ask, steady, working

FOURS = partial(FixedPolicy, 4, max_wait=1.0)
GAUGES = ("held", "pending", "executors_busy", "executors", "session_up", "session_blocked", "ready")


def gauges(registry: CollectorRegistry) -> dict[str, float | None]:
    return {name: value(registry, f"rpcb_{name}") for name in GAUGES}


async def test_each_batch_and_each_request_falls_into_its_buckets_to_the_last_digit(
    autojump_clock: MockClock,
) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    metrics = MetricsInstrument(registry)
    async with working(
        Shouting(), broker, batching=FOURS(), service_time=lambda b: b / 4, instruments=[metrics]
    ) as running:
        ask(broker, b"good 1")
        await trio.sleep(0.5)
        ask(broker, b"good 2")
        await trio.sleep(1.5)  # a batch of two was closed after 1 s, and computed after 1.5 s
        ask(broker, *(b"good %d" % n for n in range(3, 7)))  # one of four at once, computed after 1 s
        await running.until_settled(6)
    assert value(registry, "rpcb_requests_total", queue=QUEUE, outcome="success") == 6
    assert sum(samples(registry, "rpcb_requests_total").values()) == 6
    triggers = {labels[0][1]: count for labels, count in samples(registry, "rpcb_batches_total").items()}
    assert {trigger for trigger, count in triggers.items() if count} == {"wait", "size"}
    assert len(triggers) == 8
    assert buckets(registry, "rpcb_batch_size") == {2: 1, 4: 1}
    assert value(registry, "rpcb_batch_size_sum") == 6
    assert buckets(registry, "rpcb_queue_wait_seconds") == {1.0: 1, 0.5: 1, 0.001: 4}
    assert value(registry, "rpcb_queue_wait_seconds_sum") == 1.5
    assert buckets(registry, "rpcb_infer_seconds") == {0.5: 1, 1.0: 1}
    assert value(registry, "rpcb_infer_seconds_sum") == 1.5
    assert buckets(registry, "rpcb_request_duration_seconds") == {1.5: 1, 1.0: 5}
    assert value(registry, "rpcb_request_duration_seconds_sum") == 1.5 + 1.0 + 4 * 1.0
    assert value(registry, "rpcb_request_duration_seconds_count") == 6


async def test_what_the_policy_predicted_stands_beside_what_a_batch_took(autojump_clock: MockClock) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    async with working(
        Shouting(),
        broker,
        batching=AutoPolicy(1),
        service_time=lambda _: 0.25,
        instruments=[MetricsInstrument(registry)],
    ) as running:
        for number in range(3):
            ask(broker, b"good %d" % number)
            await running.until_settled(number + 1)
    assert [batch.predicted for batch in running.batches][1:] == pytest.approx([0.25, 0.25])
    known = [batch.predicted for batch in running.batches if batch.predicted is not None]
    assert value(registry, "rpcb_infer_predicted_seconds_count") == len(known)
    assert value(registry, "rpcb_infer_predicted_seconds_sum") == sum(known)
    assert value(registry, "rpcb_infer_seconds_sum") == 0.75


class Strict(Shouting):
    """Refuses a body with a code of its own, or with one that nobody else has had."""

    def decode(self, body: bytes) -> str:
        if body.startswith(b"own"):
            error = RequestError("no")
            error.code = body.split()[1].decode()
            raise error
        return super().decode(body)


async def test_a_request_counts_by_the_code_of_its_error_and_codes_are_bounded(
    autojump_clock: MockClock,
) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    more = 3 * MOST_CODES
    ask(broker, b"good 1", b"sick 2", b"\xff 3", b"mute 4", *(b"own code-%d" % n for n in range(more)))
    async with working(Strict(), broker, instruments=[MetricsInstrument(registry)]) as running:
        await running.until_settled(4 + more)
    found = {labels[0][1]: count for labels, count in samples(registry, "rpcb_requests_total").items()}
    assert sum(found.values()) == 4 + more
    assert [found[code] for code in ("success", "infer", "decode", "encode", "code-0")] == [1] * 5
    assert found["overloaded"] == 0  # what may come is there, so that its first increase is seen
    assert len([code for code in found if code.startswith("code-")]) == MOST_CODES
    assert found["other"] == more - MOST_CODES
    assert value(registry, "rpcb_request_duration_seconds_count") == 4 + more  # error replies, too


@pytest.mark.parametrize(
    ("reply_to", "outcome"), [(None, "success"), ("nobody", "unroutable"), ("answers", "success")]
)
async def test_a_result_without_a_reply_counts_by_why_it_has_none_and_has_no_duration(
    reply_to: str | None, outcome: str, autojump_clock: MockClock
) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    ask(broker, b"good 1", reply_to=reply_to)
    async with working(Shouting(), broker, instruments=[MetricsInstrument(registry)]) as running:
        await running.until_settled(1)
    assert value(registry, "rpcb_requests_total", outcome=outcome) == 1
    assert value(registry, "rpcb_request_duration_seconds_count") == (reply_to == "answers")


async def test_a_dead_letter_counts_by_its_reason(autojump_clock: MockClock) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    ask(broker, b"good 1", reply_to=None)
    async with working(
        Shouting(),
        broker,
        queue=Topology(queue=QUEUE, dead_letter_exchange="dead"),
        no_reply_to="dead-letter",
        instruments=[MetricsInstrument(registry)],
    ) as running:
        await running.until_settled(1)
    reasons = samples(registry, "rpcb_dead_letters_total")
    assert {labels[0][1] for labels, count in reasons.items() if count} == {"no-reply-to"}
    assert value(registry, "rpcb_dead_letters_total", reason="refused-reply") == 0
    assert value(registry, "rpcb_requests_total", outcome="no-reply-to") == 1


async def test_gauges_say_what_is_held_what_waits_and_what_computes_at_this_moment(
    autojump_clock: MockClock,
) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    ask(broker, *(b"good %d" % number for number in range(5)))
    async with working(
        Shouting(),
        broker,
        batching=FixedPolicy(2, max_wait=0.1),
        executors=2,
        service_time=lambda _: 1.0,
        instruments=[MetricsInstrument(registry)],
    ) as running:
        await trio.sleep(0.5)
        full = gauges(registry)
        await running.until_settled(5)
        await trio.testing.wait_all_tasks_blocked()
        empty = gauges(registry)
    up = {"executors": 2, "session_up": 1, "session_blocked": 0, "ready": 1}
    assert full == {"held": 5, "pending": 1, "executors_busy": 2, **up}
    assert empty == {"held": 0, "pending": 0, "executors_busy": 0, **up}
    assert set(gauges(registry).values()) == {0}  # the worker has ended
    assert value(registry, "rpcb_requests_total", outcome="success") == 5


async def test_a_lost_session_takes_all_that_was_held_with_it_and_its_requests_count_as_redelivered(
    autojump_clock: MockClock,
) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    ask(broker, b"good 1", b"good 2")
    looking, lost = Instrument(), list[dict[str, float | None]]()
    looking.session_lost = lambda *_: lost.append(gauges(registry))  # type: ignore[method-assign] # looked at
    async with working(
        Shouting(),
        broker,
        batching=FixedPolicy(2),
        service_time=lambda _: 1.0,
        instruments=[MetricsInstrument(registry), looking],
    ) as running:
        await trio.sleep(0.5)
        before = value(registry, "rpcb_reconnects_total")
        broker.disconnect()
        await running.until_settled(2)
    assert lost == [{**dict.fromkeys(GAUGES, 0), "executors": 1}]
    assert (before, value(registry, "rpcb_reconnects_total")) == (0, 1)
    assert value(registry, "rpcb_redelivered_total") == 2
    assert value(registry, "rpcb_requests_total", outcome="success") == 2


async def test_a_blocked_session_is_up_but_not_ready(autojump_clock: MockClock) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    metrics = MetricsInstrument(registry)
    async with working(Shouting(), broker, instruments=[metrics]):
        metrics.session_blocked("low on memory")
        blocked = gauges(registry)
        metrics.session_unblocked()
        free = gauges(registry)
    of_session = [(each["session_up"], each["session_blocked"], each["ready"]) for each in (blocked, free)]
    assert of_session == [(1, 1, 0), (1, 0, 1)]


async def test_workers_of_one_queue_are_added_up_and_ready_only_if_all_are(autojump_clock: MockClock) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    first, second = MetricsInstrument(registry), MetricsInstrument(registry)
    async with (
        working(Shouting(), broker, executors=2, instruments=[first]) as one,
        working(Shouting(), broker, executors=1, instruments=[second]) as other,
    ):
        for number in range(10):
            ask(broker, b"good %d" % number)
            await trio.sleep(1)
        together = gauges(registry)
        second.session_blocked("low on memory")
        blocked = gauges(registry)
        counts = [len(each.settled) for each in (one, other)]
    assert all(counts)
    assert sum(counts) == value(registry, "rpcb_requests_total", outcome="success") == 10
    assert value(registry, "rpcb_batch_size_count") == 10
    assert (together["executors"], together["ready"], together["session_blocked"]) == (3, 1, 0)
    assert (blocked["session_up"], blocked["ready"], blocked["session_blocked"]) == (1, 0, 1)


async def test_a_worker_that_is_started_again_goes_on_where_the_counts_were(
    autojump_clock: MockClock,
) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    for number in range(3):
        ask(broker, b"good %d" % number)
        async with working(Shouting(), broker, instruments=[MetricsInstrument(registry)]) as running:
            await running.until_settled(1)
            assert gauges(registry)["ready"] == 1
    assert value(registry, "rpcb_requests_total", outcome="success") == 3
    assert value(registry, "rpcb_request_duration_seconds_count") == 3


async def test_the_version_of_the_model_is_that_which_computes(autojump_clock: MockClock) -> None:
    broker, registry = MemoryBroker(), CollectorRegistry()
    metrics = MetricsInstrument(registry)
    async with working(Shouting(), broker, model_version="1.4", instruments=[metrics]) as running:
        before = samples(registry, "rpcb_model_info")
        executors = [VirtualExecutor(Shouting().infer)]
        await running.worker.swap(Shouting(), version="1.5", executors=executors)
        after = samples(registry, "rpcb_model_info")
    assert before == {(("version", "1.4"),): 1}
    assert after == {(("version", "1.5"),): 1}


async def test_before_its_start_an_instrument_shows_nothing() -> None:
    registry = CollectorRegistry(auto_describe=True)
    MetricsInstrument(registry)
    MetricsInstrument(registry)
    assert {family.name for family in registry.collect()} == {"rpcb_build_info"}


BOUNDS = (0.001, 0.01, 0.1, 1.0)


@steady
@given(
    st.lists(
        st.lists(st.floats(0, 2) | st.sampled_from(BOUNDS), min_size=1, max_size=40), min_size=1, max_size=4
    )
)
def test_values_that_are_observed_together_fall_where_each_would_alone(batches: list[list[float]]) -> None:
    together, alone = Histogram(BOUNDS), Histogram(BOUNDS)
    for batch in batches:
        for each in batch:
            alone.observe(each)
        together.observe_all([*batch])
    assert together.distribution.counts == alone.distribution.counts
    assert together.distribution.total == pytest.approx(alone.distribution.total)
    everything = [each for batch in batches for each in batch]
    inside: Callable[[float], int] = lambda bound: sum(each <= bound for each in everything)  # noqa: E731 - as its type says
    assert [sum(alone.distribution.counts[: n + 1]) for n in range(len(BOUNDS))] == [
        inside(bound) for bound in BOUNDS
    ]
