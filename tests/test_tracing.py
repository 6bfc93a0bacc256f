"""OpenTelemetry's spans of a worker: each batch, with whom it was, and where its time went."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, format_span_id
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, open_client
from rpcb_trio._tracing import _clock, _opentelemetry
from rpcb_trio.errors import ReplyTimeout, SettingError
from rpcb_trio.instruments import TracingInstrument
from tests.scenarios import QUEUE, Shouting, ask, working
from tests.spans import Spans, code, facts, is_same, recording, seconds, trace_of
from tests.test_following import NO_TRACEPARENTS

T = TypeVar("T")

TWOS = FixedPolicy(2, max_wait=5.0)
FOURS = FixedPolicy(4, max_wait=1.0)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    with recording(monkeypatch) as recorded:
        yield recorded


def traceparent(number: int, *, sampled: bool = True) -> dict[str, object]:
    return {"traceparent": f"00-{number:032x}-{number:016x}-0{int(sampled)}"}


def numbers(span: ReadableSpan) -> list[int]:
    """Of the traces that it links to."""
    return [link.context.trace_id for link in span.links]


def offset(span: ReadableSpan, other: ReadableSpan) -> float:
    """Seconds from the start of one to the start of another."""
    assert span.start_time is not None
    assert other.start_time is not None
    return (other.start_time - span.start_time) / 1e9


class Slow(Shouting):
    """As `Shouting`; its decode and encode take no time, its infer notes the current span."""

    def __init__(self) -> None:
        super().__init__()
        self.current: list[str] = []

    def infer(self, items: list[str]) -> list[str | Exception]:
        self.current.append(format_span_id(trace.get_current_span().get_span_context().span_id))
        with trace.get_tracer("of a service").start_as_current_span("own"):
            return super().infer(items)


async def test_a_batch_is_a_span_with_a_link_to_each_request_and_its_trigger_size_wait_and_prediction(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", headers=traceparent(1) | {"x-request-id": "order-17"})
    async with working(
        Shouting(), broker, batching=TWOS, instruments=[TracingInstrument()], model_version="7"
    ) as running:
        await trio.sleep(2.0)
        ask(broker, b"good 2", headers=traceparent(2))
        await running.until_settled(2)
    process = spans.one("process work")
    assert process.kind is SpanKind.CONSUMER
    [batch] = running.batches
    assert facts(process) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "work",
        "messaging.batch.message_count": 2,
        "rpcb.batch.id": batch.id,
        "rpcb.batch.size": 2,
        "rpcb.batch.trigger": "size",
        "rpcb.batch.wait": 2.0,
        "rpcb.batch.cost": 2.0,
        "rpcb.model.version": "7",
    }
    first, second = process.links
    assert numbers(process) == [1, 2]
    assert dict(first.attributes or {}) == {
        "messaging.message.body.size": 6,
        "messaging.message.conversation_id": "1",
        "messaging.rabbitmq.message.delivery_tag": 1,
        "rpcb.request.wait": 2.0,
        "rpcb.request_id": "order-17",
    }
    assert dict(second.attributes or {})["rpcb.request.wait"] == 0.0
    assert code(process) == ("UNSET", None)


async def test_where_the_time_of_a_batch_went_is_told_by_its_children_on_the_workers_clock(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker, before = MemoryBroker(), time.time()
    async with working(
        Shouting(), broker, batching=TWOS, service_time=lambda b: 3.0 * b, instruments=[TracingInstrument()]
    ) as running:
        ask(broker, b"good 1")
        await trio.sleep(2.0)
        ask(broker, b"good 2")
        await running.until_settled(2)
        ask(broker, b"good 3", b"good 4")
        await running.until_settled(4)
    first, second = spans.named("process work")
    assert (seconds(first), seconds(second)) == pytest.approx((8.0, 6.0))
    assert (first.start_time or 0) / 1e9 == pytest.approx(before, abs=60), "wall time"
    children = spans.below(first)
    assert [(child.name, child.kind) for child in children] == [
        ("infer", SpanKind.INTERNAL),
        ("encode", SpanKind.INTERNAL),
        ("send", SpanKind.PRODUCER),
        ("ack work", SpanKind.CLIENT),
    ]
    assert [offset(first, child) for child in children] == pytest.approx([2.0, 8.0, 8.0, 8.0])
    assert [seconds(child) for child in children] == pytest.approx([6.0, 0.0, 0.0, 0.0])


async def test_a_batch_is_as_long_as_it_took_and_the_next_one_begins_at_the_time_that_was_set_meanwhile(
    spans: Spans, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = {"by": 7200.0}
    monkeypatch.setattr(_clock, "time", lambda: 1e9 + trio.current_time() + ahead["by"])
    broker, began = MemoryBroker(), trio.current_time()
    async with working(
        Shouting(), broker, batching=TWOS, service_time=lambda b: 3.0 * b, instruments=[TracingInstrument()]
    ) as running:
        ask(broker, b"good 1")
        await trio.sleep(2.0)
        ask(broker, b"good 2")
        await trio.sleep(1.0)
        ahead["by"] = 0.0
        await running.until_settled(2)
        ask(broker, b"good 3", b"good 4")
        await running.until_settled(4)
    first, second = spans.named("process work")
    assert (seconds(first), seconds(second)) == pytest.approx((8.0, 6.0))
    assert [offset(first, child) for child in spans.below(first)] == pytest.approx([2.0, 8.0, 8.0, 8.0])
    starts = [(each.start_time or 0) / 1e9 - 1e9 - began for each in (first, second)]
    assert starts == pytest.approx([7200.0, 8.0])


async def test_a_call_is_as_long_as_it_took_though_the_time_is_set_meanwhile(
    spans: Spans, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1e9, 1e9 - 3600.0, 1e9 + 7200.0])
    monkeypatch.setattr(_clock, "time", lambda: next(times))
    monkeypatch.setattr(_clock, "monotonic", trio.current_time)
    broker = MemoryBroker()
    async with working(Shouting(), broker, service_time=lambda _: 3.0), open_client(broker) as client:
        await client.call(b"good", queue=QUEUE)
        await client.call(b"good", queue=QUEUE)
    one, two = spans.named("send work")
    assert (seconds(one), seconds(two)) == pytest.approx((3.0, 3.0))
    assert offset(one, two) == pytest.approx(-3600.0)


async def half_a_second(function: Callable[[], T]) -> T:
    await trio.sleep(0.5)
    return function()


async def test_requests_decoded_one_after_another_are_one_span_and_those_apart_are_several(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker, policy = MemoryBroker(), FixedPolicy(3, max_wait=9.0)
    ask(broker, b"good 1", b"good 2")
    async with working(
        Shouting(), broker, batching=policy, offload=half_a_second, instruments=[TracingInstrument()]
    ) as running:
        await trio.sleep(3.0)
        ask(broker, b"good 3")
        await running.until_settled(3)
    process = spans.one("process work")
    children = spans.below(process)
    assert [(child.name, offset(process, child), seconds(child)) for child in children] == [
        ("decode", 0.0, 1.0),
        ("decode", 3.0, 0.5),
        ("infer", 3.5, 0.0),
        ("encode", 3.5, 0.5),
        ("send", 4.0, 0.0),
        ("ack work", 4.0, 0.0),
    ]


async def test_a_span_that_a_service_starts_within_infer_is_below_the_batchs(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker, service = MemoryBroker(), Slow()
    ask(broker, b"good 1", b"good 2", headers=traceparent(1))
    async with working(service, broker, batching=TWOS, instruments=[TracingInstrument()]) as running:
        await running.until_settled(2)
        ask(broker, b"good 3")
        await running.until_settled(3)
    for process in spans.named("process work"):
        [infer] = [child for child in spans.below(process) if child.name == "infer"]
        [own] = spans.below(infer)
        assert own.name == "own"
        assert trace_of(own) == trace_of(process)
    assert len(set(service.current)) == 2


@pytest.mark.parametrize(
    ("contexts", "parent"),
    [
        ([traceparent(1), traceparent(2)], 1),
        ([traceparent(1, sampled=False), traceparent(2)], 2),
        ([{}, traceparent(2)], 2),
        ([{}, {}], None),
        ([{"traceparent": 7}, {"traceparent": b"\xff" * 10_000}], None),
    ],
    ids=["the oldest", "the oldest that is sampled", "the oldest that has one", "none", "hostile"],
)
async def test_a_batch_is_recorded_below_the_oldest_request_that_is(
    contexts: Sequence[Mapping[str, object]],
    parent: int | None,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    for number, headers in enumerate(contexts):
        ask(broker, b"good %d" % number, headers=headers)
    with recording(monkeypatch, ParentBased(ALWAYS_OFF)) as spans:
        async with working(Shouting(), broker, batching=TWOS, instruments=[TracingInstrument()]) as running:
            await running.until_settled(2)
    if parent is None:
        assert spans.all == []
        return
    process = spans.one("process work")
    assert process.parent is not None
    assert process.parent.trace_id == parent
    assert {trace_of(span) for span in spans.all} == {trace_of(process)}
    assert numbers(process) == [each for each, headers in enumerate(contexts, start=1) if headers]


@pytest.mark.parametrize("given", NO_TRACEPARENTS.values(), ids=NO_TRACEPARENTS)
async def test_a_header_that_is_no_traceparent_fails_nothing_and_is_no_link(
    given: object, spans: Spans, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    headers = {"traceparent": given, "tracestate": given, "baggage": given}
    ask(broker, b"good 1", b"good 2", headers=headers)
    async with working(Shouting(), broker, batching=TWOS, instruments=[TracingInstrument()]) as running:
        await running.until_settled(2)
    process = spans.one("process work")
    assert process.links == ()
    assert process.parent is None
    assert "opentelemetry" not in {record.name.partition(".")[0] for record in caplog.records}


async def test_what_fails_in_a_batch_is_told_with_its_code_and_the_runs_of_infer(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"poison 2", headers=traceparent(1))
    async with working(
        Shouting(), broker, batching=TWOS, service_time=lambda _: 1.0, instruments=[TracingInstrument()]
    ) as running:
        await running.until_settled(2)
    process, infer = spans.one("process work"), spans.one("infer")
    assert code(process) == ("ERROR", "infer")
    assert process.status.description == "1 of 2 requests failed"
    [failure] = process.events
    assert dict(failure.attributes or {})["rpcb.correlation_id"] == "2"
    assert "RuntimeError: poisoned" in str(dict(failure.attributes or {})["rpcb.error"])
    runs = [dict(event.attributes or {}) for event in infer.events]
    assert [(run["rpcb.run.size"], run["rpcb.run.ending"]) for run in runs] == [
        (2, "failed"),
        (1, "computed"),
        (1, "failed"),
    ]
    assert code(infer) == ("UNSET", None), "a run computed"


async def test_a_request_that_fails_alone_fails_its_spans(spans: Spans, autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"poison 1")
    async with working(Shouting(), broker, instruments=[TracingInstrument()]) as running:
        await running.until_settled(1)
    assert code(spans.one("process work")) == ("ERROR", "infer")
    assert code(spans.one("infer")) == ("ERROR", "failed")


async def test_a_request_that_is_not_computed_has_a_span_of_its_own(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"\xff 1", headers=traceparent(1))
    ask(broker, b"brief 2", headers=traceparent(2), expiration=0.5)
    ask(broker, b"good 3")
    async with working(
        Shouting(), broker, batching=FOURS, service_time=lambda _: 9.0, instruments=[TracingInstrument()]
    ) as running:
        await running.until_settled(3)
    refused = {numbers(each)[0]: each for each in spans.named("process work") if each.links}
    assert {number: code(each) for number, each in refused.items()} == {
        1: ("ERROR", "decode"),
        2: ("ERROR", "expired"),
    }
    assert [child.name for child in spans.below(refused[1])] == ["encode", "send", "ack work"]


async def test_what_a_lost_session_or_a_stop_leaves_is_ended_as_failed(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(
        Shouting(), broker, service_time=lambda _: 9.0, instruments=[TracingInstrument()]
    ) as running:
        await trio.sleep(1)
        broker.disconnect()
        await trio.sleep(5)
        running.cancel()
    lost, stopped = spans.named("process work")
    assert (code(lost), code(stopped)) == (("ERROR", "session-lost"), ("ERROR", "stopped"))
    assert [code(each) for each in spans.named("infer")] == [("ERROR", "session-lost"), ("ERROR", "stopped")]


async def test_a_call_is_a_span_whose_context_travels_with_the_request_until_the_reply(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with (
        working(Shouting(), broker, instruments=[TracingInstrument()]) as running,
        open_client(broker) as client,
    ):
        with trace.get_tracer("of a caller").start_as_current_span("own") as own:
            await client.call(b"good 1", queue=QUEUE)
            reply = await client.call(b"sick 2", queue=QUEUE)
    one, two = spans.named("send work")
    assert (one.kind, one.parent) == (SpanKind.PRODUCER, own.get_span_context())
    assert (
        facts(one).items()
        >= {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": "work",
            "messaging.rabbitmq.destination.routing_key": "work",
            "messaging.message.body.size": 6,
            "messaging.message.conversation_id": running.received[0].correlation_id,
        }.items()
    )
    assert code(one) == ("UNSET", None)
    assert (code(two), reply.error) == (("ERROR", "infer"), "infer")
    for sent, process in zip((one, two), spans.named("process work"), strict=True):
        [link] = process.links
        assert is_same(link.context, sent)
        assert trace_of(process) == trace_of(sent)


async def test_a_call_in_a_batch_of_another_trace_links_to_it(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with (
        working(Shouting(), broker, batching=TWOS, instruments=[TracingInstrument()]),
        open_client(broker) as client,
        trio.open_nursery() as nursery,
    ):
        for body in (b"good 1", b"good 2"):
            nursery.start_soon(partial(client.call, body, queue=QUEUE))
    [infer] = spans.named("infer")
    calls = {trace_of(call): call for call in spans.named("send work")}
    own = calls.pop(trace_of(infer))
    [other] = calls.values()
    assert own.links == ()
    [link] = other.links
    assert is_same(link.context, infer)


async def test_a_call_that_gets_no_reply_tells_why(spans: Spans, autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    broker.declare(QUEUE)
    async with open_client(broker) as client:
        with pytest.raises(ReplyTimeout):
            await client.call(b"good 1", queue=QUEUE, timeout=1.0)
        with trio.move_on_after(1):
            await client.call(b"good 2", queue=QUEUE)
    assert [code(each) for each in spans.all] == [("ERROR", "timeout"), ("ERROR", "cancelled")]


async def test_without_an_sdk_a_context_is_passed_on_and_nothing_is_recorded(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker) as running, open_client(broker) as client:
        await client.call(b"good 1", queue=QUEUE)
        await client.call(b"good 2", queue=QUEUE, headers=traceparent(2) | {"own": 1})
    bare, traced = running.received
    assert dict(bare.headers) == {}
    assert dict(traced.headers) == traceparent(2) | {"own": 1}


def test_whoever_asks_for_spans_without_the_api_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _opentelemetry.cache_clear()
    monkeypatch.setitem(sys.modules, "rpcb_trio._tracing._spans", None)
    with pytest.raises(SettingError, match=r"pip install 'rpcb-trio\[tracing\]'"):
        TracingInstrument()


async def test_a_traceparent_that_a_caller_gives_by_hand_is_the_parent_where_there_is_no_other(
    spans: Spans, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker) as running, open_client(broker) as client:
        await client.call(b"good 1", queue=QUEUE, headers=traceparent(2))
    [request] = running.received
    sent = spans.one("send work")
    assert sent.parent is not None
    assert sent.parent.trace_id == 2
    assert str(request.headers["traceparent"]).split("-")[1] == trace_of(sent)
