"""One request can be followed by its ids: through the log, the audit and the events."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, LogInstrument, MemoryBroker, Request
from rpcb_trio._commands._logs import JsonFormatter
from rpcb_trio._events._events import LONGEST_EVENT, decoded
from rpcb_trio._tracing import context_in, ids_of, request_id_in, trace_id_in
from rpcb_trio.events import BatchEvent, EventInstrument, RequestIds
from rpcb_trio.instruments import AuditInstrument, read_audit
from tests.events.watching import seeing, telling
from tests.scenarios import Shouting, ask, steady, working

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
TWOS = FixedPolicy(2, max_wait=1.0)
HEADERS = {"X-Request-Id": "order-17", "traceparent": TRACEPARENT}
IDS = RequestIds(correlation_id="1", request_id="order-17", trace_id=TRACE)

NO_TRACEPARENTS = {
    "a number": 7,
    "bytes": TRACEPARENT.encode(),
    "a list": [TRACEPARENT],
    "10 kB": "00-" + "a" * 10_000,
    "too long": TRACEPARENT + "0",
    "too much of the first version": TRACEPARENT + "-00",
    "upper case": TRACEPARENT.upper(),
    "no trace": f"00-{'0' * 32}-00f067aa0ba902b7-01",
    "no span": f"00-{TRACE}-{'0' * 16}-01",
    "the version that is none": "ff" + TRACEPARENT[2:],
    "words": "hello",
    "nothing": "",
    "lines": TRACEPARENT + "\n",
}


def a_request(**headers: object) -> Request:
    return Request(body=b"", arrived=0.0, correlation_id="1", headers=headers)


async def test_the_json_log_has_the_ids_of_a_failed_request_as_fields(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"sick 1", headers=HEADERS)
    async with working(Shouting(), broker, instruments=[LogInstrument("asr")]) as running:
        await running.until_settled(1)
    [line] = [
        json.loads(JsonFormatter().format(each)) for each in caplog.records if "an error" in each.message
    ]
    fields = {"worker": "asr", "queue": "work", "code": "infer"}
    fields |= {"correlation_id": "1", "request_id": "order-17", "trace_id": TRACE}
    assert line.items() >= fields.items()
    assert line["message"].startswith("asr: request '1' (request id order-17) of 'answers'")


async def test_the_json_log_has_at_debug_which_batch_a_request_is_in(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", headers=HEADERS)
    with caplog.at_level(logging.DEBUG, "rpcb_trio"):
        async with working(Shouting(), broker, instruments=[LogInstrument("asr")]) as running:
            await running.until_settled(1)
    lines = [json.loads(JsonFormatter().format(each)) for each in caplog.records if "batch" in each.message]
    [batch] = running.batches
    assert [(line["queue"], line["batch"]) for line in lines] == [("work", batch.id)] * 3
    [in_it] = [line for line in lines if line.get("request_id") == "order-17"]
    assert in_it["message"] == f"asr: request '1' (request id order-17) of 'answers' is in batch {batch.id}"


async def test_the_audit_has_the_ids_of_each_request_computed_or_refused(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    broker = MemoryBroker()
    ask(broker, b"good 1", b"\xff 1", headers=HEADERS)
    ask(broker, b"good 2")
    audit = AuditInstrument(file)
    async with working(Shouting(), broker, batching=TWOS, instruments=[audit]) as running:
        await running.until_settled(3)
    [found] = read_audit(file)
    [batch], [refused] = found.batches, found.refused
    for request in (batch.requests[0], refused.request):
        assert (request.correlation_id, request.request_id, request.trace_id) == ("1", "order-17", TRACE)
    assert (batch.requests[1].request_id, batch.requests[1].trace_id) == (None, None)
    assert file.read_text().count("request_id") == 2, "those that have none cost no bytes"


def test_an_audit_of_before_requests_had_these_ids_is_still_read(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    head = '"start":"s","worker":"asr","unix":1.0,"at":1.0'
    setup = '{"queue":"q","policy":"P","max_batch_size":4,"max_pending":null,"prefetch":8,"executors":1}'
    request = (
        '{"position":null,"correlation_id":"1","caller":null,"priority":0,"cost":null,"arrived":0.0,'
        '"deadline":null,"redelivered":false,"wait":1.0}'
    )
    file.write_text(
        f'{{"line":"start",{head},"schema":2,"setup":{setup}}}\n'
        f'{{"line":"refused",{head},"why":"expired","request":{request}}}\n'
    )
    [audit] = read_audit(file)
    [refused] = audit.refused
    assert (refused.request.correlation_id, refused.request.request_id) == ("1", None)


async def test_the_event_of_a_batch_has_the_ids_of_its_requests(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", headers=HEADERS)
    ask(broker, b"good 2")
    async with seeing(broker) as seen, telling(Shouting(), broker, batching=TWOS):
        [batch] = await seen.until(BatchEvent)
    assert batch.requests == (IDS, RequestIds(correlation_id="2"))


async def test_an_event_is_bounded_whatever_ids_its_requests_have(autojump_clock: MockClock) -> None:
    broker, events = MemoryBroker(), EventInstrument("asr")
    headers = {"x-request-id": "é" * 128, "traceparent": "x" * 10_000}
    ask(broker, *(b"good " + b"\xe4\xb8\xad" * 80 for _ in range(200)), headers=headers)
    policy = FixedPolicy(200, max_wait=1.0)
    async with working(Shouting(), broker, batching=policy, instruments=[events]) as running:
        await running.until_settled(200)
        told = await events.buffer.take()
    [batch] = [each for each in told if isinstance(each, BatchEvent)]
    body = msgspec.json.encode(batch)
    assert (batch.size, len(batch.requests)) == (200, 64)
    assert len(body) < LONGEST_EVENT
    assert decoded(body) == batch


@pytest.mark.parametrize("traceparent", NO_TRACEPARENTS.values(), ids=NO_TRACEPARENTS)
def test_a_traceparent_that_is_none_is_passed_over(traceparent: object) -> None:
    assert trace_id_in({"traceparent": traceparent}) is None
    assert context_in({"traceparent": traceparent, "tracestate": "a=1"}) == {}
    assert ids_of(a_request(traceparent=traceparent)) == RequestIds(correlation_id="1")


def test_the_context_of_a_trace_is_passed_on_as_it_came_and_its_state_only_where_it_is_sane() -> None:
    assert context_in({"traceparent": TRACEPARENT, "tracestate": "a=1"}) == {
        "traceparent": TRACEPARENT,
        "tracestate": "a=1",
    }
    for state in (7, b"a=1", "a" * 600, "ä=1", "", "a=1\nb=2"):
        assert context_in({"traceparent": TRACEPARENT, "tracestate": state}) == {"traceparent": TRACEPARENT}
    later = "01" + TRACEPARENT[2:] + "-more"
    assert trace_id_in({"traceparent": later}) == TRACE


@pytest.mark.parametrize("given", [7, b"a", "", "a b", "a\nb", "é", "a" * 129, ["a"]], ids=repr)
def test_a_request_id_that_is_no_sane_one_is_none(given: object) -> None:
    assert request_id_in({"x-request-id": given}) is None


@steady
@given(st.dictionaries(st.text(max_size=20), st.text() | st.binary() | st.integers() | st.lists(st.text())))
def test_whatever_headers_a_request_has_its_ids_can_be_written(headers: dict[str, object]) -> None:
    request = Request(body=b"", arrived=0.0, correlation_id="\x00\x1b[2J", headers=headers)
    assert msgspec.json.decode(msgspec.json.encode(ids_of(request)), type=RequestIds) == ids_of(request)


def formatted(**extra: object) -> dict[str, object]:
    record = logging.LogRecord("svc", logging.INFO, __file__, 1, "said", (), None)
    for name, value in extra.items():
        setattr(record, name, value)
    line: dict[str, object] = json.loads(JsonFormatter().format(record))
    return line


def test_what_a_service_logs_as_extra_is_a_field_of_the_json_log() -> None:
    line = formatted(user="u1", tokens=3, ratio=0.5, cached=True, half="\ud800", url="amqp://u:secret@h/")
    assert line["user"] == "u1"
    assert (line["tokens"], line["ratio"], line["cached"]) == (3, 0.5, True)
    assert line["half"] == "\\ud800"
    assert line["url"] == "amqp://u:***@h/"


def test_extras_that_are_no_plain_values_or_huge_ones_break_no_line() -> None:
    line = formatted(thing=object(), table={"a": 1}, none=None, huge=10**400, nan=float("nan"))
    assert {"thing", "table", "none", "huge"}.isdisjoint(line)
    assert len(str(formatted(long="x" * 10**6)["long"])) < 3000
    assert line["nan"] is None


def test_an_extra_can_pass_for_none_of_the_lines_own_fields() -> None:
    line = formatted(time="never", level="none", logger="mine")
    assert (line["level"], line["logger"]) == ("info", "svc")
    assert line["time"] != "never"
