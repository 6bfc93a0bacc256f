"""One request is followed from HTTP to its batch and back: by its trace, and by its request id."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import trio
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from trio.testing import MockClock

from rpcb_trio import LogInstrument, open_worker
from rpcb_trio._commands._logs import JsonFormatter
from rpcb_trio._tracing import _clock
from rpcb_trio.events import BatchEvent, EventInstrument, publish_events
from rpcb_trio.gateway import GatewayOptions
from rpcb_trio.instruments import AuditInstrument, TracingInstrument, read_audit
from rpcb_trio.testing import Recorder, VirtualExecutor
from tests.events.watching import seeing
from tests.gateway.fronts import Started, front, one_by_one
from tests.gateway.test_on_rabbitmq import gateway
from tests.rabbitmq import Broker
from tests.spans import Spans, code, facts, is_same, recording, seconds, trace_of
from tests.test_following import TRACE, TRACEPARENT

RPC = GatewayOptions(rpc=("*",))
PATIENCE = 30.0


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    with recording(monkeypatch) as recorded:
        yield recorded


count_letters = one_by_one(lambda body: {"n": len(body["text"])})


def pick(bodies: list[bytes]) -> list[bytes | Exception]:
    return [ValueError("sick") if body == b"sick" else body.upper() for body in bodies]


async def test_a_request_is_followed_from_http_to_its_batch_and_back_by_one_id(
    broker: Broker,
    queue: str,
    spans: Spans,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange, audit = broker.fresh_name("events"), tmp_path / "audit.jsonl"
    events = EventInstrument("w")
    instruments = [TracingInstrument(), LogInstrument("w"), AuditInstrument(audit), events]
    sent = {"x-request-id": "order-17", "traceparent": TRACEPARENT}
    with trio.fail_after(PATIENCE), caplog.at_level(logging.DEBUG, "rpcb_trio"):
        async with (
            seeing(broker.url, exchange) as seen,
            publish_events(broker.url, exchange, events),
            open_worker(pick, broker.url, queue, instruments=instruments),
            gateway(broker.url, {"pick": {"queue": queue}}) as asked,
        ):
            answer = await asked.http.post("/pick", content=b"sick", headers=sent)
            [event] = await seen.until(BatchEvent)
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "order-17")

    lines = [json.loads(JsonFormatter().format(each)) for each in caplog.records]
    mine = [line for line in lines if line.get("request_id") == "order-17"]
    at_the_worker, in_a_batch = (next(each for each in mine if key in each) for key in ("code", "batch"))
    at_the_gateway = next(each for each in mine if "path" in each)
    assert in_a_batch["correlation_id"] == at_the_worker["correlation_id"]
    assert (at_the_worker["queue"], at_the_worker["code"], at_the_worker["trace_id"]) == (
        queue,
        "infer",
        TRACE,
    )
    assert (at_the_gateway["path"], at_the_gateway["status"], at_the_gateway["trace_id"]) == (
        "/pick",
        500,
        TRACE,
    )

    [found] = read_audit(audit)
    [[recorded]] = [batch.requests for batch in found.batches]
    assert (recorded.request_id, recorded.trace_id) == ("order-17", TRACE)
    [ids] = event.requests
    assert (ids.request_id, ids.trace_id) == ("order-17", TRACE)
    assert {ids.correlation_id} == {recorded.correlation_id} == {at_the_worker["correlation_id"]}

    served, call, process = spans.one("POST /pick"), spans.one(f"send {queue}"), spans.one(f"process {queue}")
    assert {trace_of(each) for each in spans.all} == {TRACE}
    assert (served.kind, code(served), facts(served)["rpcb.request_id"]) == (
        SpanKind.SERVER,
        ("ERROR", "500"),
        "order-17",
    )
    assert [each.name for each in spans.below(served)] == [call.name]
    [link] = process.links
    assert is_same(link.context, call)
    assert dict(link.attributes or {})["rpcb.request_id"] == "order-17"
    assert (code(call), code(process)) == (("ERROR", "infer"), ("ERROR", "infer"))


async def test_a_composite_is_one_trace_and_each_part_a_call_below_it(
    spans: Spans, autojump_clock: MockClock
) -> None:
    routes = {
        "one": {"queue": "one", "form": {"text": {}}},
        "two": {"queue": "two", "form": {"text": {}}},
        "all": {"form": {"text": {}}, "parts": {"a": {"route": "one"}, "b": {"route": "two"}}},
    }
    traced = [Started(count_letters, {"instruments": [TracingInstrument()]}) for _ in range(2)]
    async with front(routes, one=traced[0], two=traced[1]) as asked:
        answer = await asked.http.post("/all", data={"text": "hello"}, headers={"traceparent": TRACEPARENT})
    assert answer.json() == {"a": {"n": 5}, "b": {"n": 5}}
    served = spans.one("POST /all")
    assert served.parent is not None
    assert trace.format_trace_id(served.parent.trace_id) == TRACE
    assert sorted(each.name for each in spans.below(served)) == ["send one", "send two"]
    for name in ("one", "two"):
        [link] = spans.one(f"process {name}").links
        assert is_same(link.context, spans.one(f"send {name}"))
    assert {trace_of(each) for each in spans.all} == {TRACE}


async def test_a_span_of_a_request_has_its_route_status_and_client(
    spans: Spans, autojump_clock: MockClock
) -> None:
    async with front(options=RPC, shout=pick) as asked:
        await asked.http.post("/rpc/shout", content=b"a", headers={"user-agent": "mine/1"})
        await asked.http.request("BREW", "/nowhere")
    served, unknown = spans.one("POST /rpc/{name}"), spans.one("HTTP")
    assert (
        facts(served).items()
        >= {
            "http.request.method": "POST",
            "http.route": "/rpc/{name}",
            "url.path": "/rpc/shout",
            "url.scheme": "http",
            "http.response.status_code": 200,
            "user_agent.original": "mine/1",
            "client.address": "127.0.0.1",
        }.items()
    )
    assert code(served) == ("UNSET", None)
    assert (facts(unknown)["http.request.method"], facts(unknown)["http.response.status_code"]) == (
        "_OTHER",
        404,
    )


async def test_a_request_is_as_long_as_it_took_though_the_time_is_set_meanwhile(
    spans: Spans, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count()
    monkeypatch.setattr(_clock, "time", lambda: 1e9 - 3600.0 * next(looks))
    monkeypatch.setattr(_clock, "monotonic", trio.current_time)
    shout = Started(pick, {"executors": [VirtualExecutor(pick, lambda _: 3.0)]})
    async with front(options=RPC, shout=shout) as asked:
        await asked.http.post("/rpc/shout", content=b"a")
    took = [seconds(spans.one(name)) for name in ("POST /rpc/{name}", "send shout", "process shout")]
    assert took == pytest.approx([3.0, 3.0, 3.0])


async def test_probes_and_a_request_that_has_a_server_span_already_get_none(
    spans: Spans, autojump_clock: MockClock
) -> None:
    async with front(options=RPC, shout=pick) as asked:
        for path in ("/livez", "/readyz/", "/events"):
            await asked.http.get(path)
        tracer = trace.get_tracer("of another instrumentation")
        with tracer.start_as_current_span("its own", kind=SpanKind.SERVER) as own:
            await asked.http.post("/rpc/shout", content=b"a")
    assert spans.one("send shout").parent == own.get_span_context()
    assert {each.name for each in spans.all if each.kind is SpanKind.SERVER} == {"its own"}


@pytest.mark.parametrize("given", ["", "hello", "x" * 10_000, TRACEPARENT.upper()], ids=len)
async def test_a_header_that_is_no_traceparent_begins_a_trace_of_its_own(
    given: str, spans: Spans, autojump_clock: MockClock
) -> None:
    async with front(options=RPC, shout=pick) as asked:
        headers = {"traceparent": given, "tracestate": given, "baggage": given}
        answer = await asked.http.post("/rpc/shout", content=b"a", headers=headers)
    assert answer.content == b"A"
    assert spans.one("POST /rpc/{name}").parent is None


async def test_without_an_sdk_the_gateway_passes_a_trace_on_as_it_came(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    given = {"traceparent": TRACEPARENT, "tracestate": "a=1", "x-request-id": "order-17"}
    async with front(options=RPC, shout=Started(pick, {"instruments": [recorder]})) as asked:
        await asked.http.post("/rpc/shout", content=b"a", headers=given)
    [request] = recorder.received
    assert dict(request.headers) == given
