"""One trace from a caller over RabbitMQ to the batch, and on to the services behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pika  # type: ignore[import-untyped] # it carries no types
import pytest
import trio
from opentelemetry import trace

from rpcb_trio import BlockingRpcClient, FixedPolicy, open_client, open_worker
from tests.rabbitmq import Broker
from tests.spans import Spans, facts, is_same, recording, trace_of
from tests.test_following import NO_TRACEPARENTS

PATIENCE = 30.0


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    with recording(monkeypatch) as recorded:
        yield recorded


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


def twos() -> FixedPolicy:
    return FixedPolicy(2, max_wait=PATIENCE)


async def test_a_batch_links_to_the_calls_of_all_kinds_of_clients_in_it(
    broker: Broker, queue: str, spans: Spans
) -> None:
    blocking = BlockingRpcClient(broker.url)

    def call_in_a_thread() -> None:
        with trace.get_tracer("of a caller").start_as_current_span("own"):
            blocking.call(b"one", queue=queue)

    with trio.fail_after(PATIENCE):
        async with (
            open_worker(shout, broker.url, queue, batching=twos()),
            open_client(broker.url) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(trio.to_thread.run_sync, call_in_a_thread)
            await client.call(b"two", queue=queue)
    await trio.to_thread.run_sync(blocking.close)
    sent = spans.named(f"send {queue}")
    process = spans.one(f"process {queue}")
    assert len(process.links) == len(sent) == 2
    for link in process.links:
        assert [is_same(link.context, each) for each in sent].count(True) == 1
    assert {trace_of(process)} <= {trace_of(each) for each in sent}
    own, in_the_thread = spans.one("own"), [each for each in sent if each.parent is not None]
    assert [each.parent for each in in_the_thread] == [own.get_span_context()]
    assert [child.name for child in spans.below(process)] == ["infer", "send", f"ack {queue}"]
    at = urlsplit(broker.url)
    for each in (process, *sent):
        assert (facts(each)["server.address"], facts(each)["server.port"]) == (at.hostname, at.port)


async def test_a_trace_goes_on_through_a_service_that_calls_another(
    broker: Broker, queue: str, spans: Spans
) -> None:
    second = broker.fresh_name()
    client = BlockingRpcClient(broker.url)

    def call_on(bodies: list[bytes]) -> list[bytes]:
        return [client.call(body, queue=second).body for body in bodies]

    with trio.fail_after(PATIENCE):
        async with (
            open_worker(call_on, broker.url, queue),
            open_worker(shout, broker.url, second),
            open_client(broker.url) as caller,
        ):
            assert (await caller.call(b"hello", queue=queue)).body == b"HELLO"
    await trio.to_thread.run_sync(client.close)
    sent, process = spans.one(f"send {queue}"), spans.one(f"process {queue}")
    infer = next(child for child in spans.below(process) if child.name == "infer")
    [sent_on] = spans.below(infer)
    [link] = spans.one(f"process {second}").links
    assert sent_on.name == f"send {second}"
    assert is_same(link.context, sent_on)
    assert {trace_of(span) for span in spans.all} == {trace_of(sent)}


def send_and_read(broker: Broker, queue: str, headers: Sequence[dict[str, Any]]) -> set[bytes]:
    """Send a request with each of these, and return the bodies of the replies."""
    replies = list[bytes]()
    with broker.channel() as channel:
        address = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(address, lambda *reply: replies.append(reply[3]), auto_ack=True)
        for number, each in enumerate(headers):
            properties = pika.BasicProperties(reply_to=address, correlation_id=str(number), headers=each)
            channel.basic_publish("", queue, b"a", properties)
        while len(replies) < len(headers):
            channel.connection.process_data_events(time_limit=PATIENCE)
    return {*replies}


async def test_no_header_of_a_callers_fails_its_request_or_the_batch(
    broker: Broker, queue: str, spans: Spans
) -> None:
    values: list[Any] = [*NO_TRACEPARENTS.values(), {"a": [1]}, True]
    hostile = [
        dict.fromkeys(("traceparent", "tracestate", "baggage", "x-request-id"), each) for each in values
    ]
    policy = FixedPolicy(len(hostile), max_wait=PATIENCE)
    with trio.fail_after(PATIENCE):
        async with open_worker(shout, broker.url, queue, batching=policy):
            bodies = await trio.to_thread.run_sync(send_and_read, broker, queue, hostile)
    assert bodies == {b"A"}
    process = spans.one(f"process {queue}")
    assert process.links == ()
    assert process.parent is None
