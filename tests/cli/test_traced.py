"""`serve` with an SDK of OpenTelemetry that the service's module sets up."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from rpcb_trio import open_client
from tests.cli.conftest import Serve
from tests.rabbitmq import Broker

TRACED = """
import logging

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter


def line(span):
    return span.to_json(indent=None) + "\\n"


provider = TracerProvider()
exporter = ConsoleSpanExporter(out=open("spans.jsonl", "w"), formatter=line)
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10**6))
trace.set_tracer_provider(provider)


def shout(bodies):
    logging.getLogger("traced").warning("computing", extra={"bodies": len(bodies)})
    return [body.upper() for body in bodies]
"""


async def test_its_spans_are_exported_before_it_ends_and_its_log_names_them(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "traced.py").write_text(TRACED)
    async with (
        serve("traced:shout", "--queue", queue, "--log-format=json") as serving,
        open_client(broker.url) as client,
    ):
        await serving.line_with("consuming from queue", queue)
        assert (await client.call(b"hello", queue=queue)).body == b"HELLO"
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    lines = (workplace / "spans.jsonl").read_text().splitlines()
    spans = {span["name"]: span for span in map(json.loads, lines)}
    assert spans.keys() == {f"process {queue}", "infer", "send", f"ack {queue}"}
    logged = json.loads(await serving.line_with("computing"))
    current = spans["infer"]["context"]
    assert (f"0x{logged['trace_id']}", f"0x{logged['span_id']}") == (current["trace_id"], current["span_id"])
    assert (logged["logger"], logged["bodies"]) == ("traced", 1)
