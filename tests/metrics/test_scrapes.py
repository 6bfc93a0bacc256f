"""`/metrics` of the health port, as a scrape finds it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from rpcb_trio import HealthInstrument, MemoryBroker
from rpcb_trio.health import HealthPort, open_health_port
from rpcb_trio.metrics import MetricsInstrument
from tests.scenarios import Shouting, ask, working
from tests.test_health_port import ask as ask_port

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


async def counted() -> CollectorRegistry:
    """A registry for which a worker has counted."""
    broker, registry = MemoryBroker(), CollectorRegistry()
    ask(broker, b"good 1", b"sick 2")
    async with working(Shouting(), broker, instruments=[MetricsInstrument(registry)]) as running:
        await running.until_settled(2)
    return registry


@pytest.mark.parametrize(
    ("accept", "content_type", "read"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", read_text),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8", read_openmetrics),
    ],
    ids=["text", "OpenMetrics"],
)
async def test_a_scrape_gets_the_format_that_it_accepts_and_can_be_read_back(
    accept: str, content_type: str, read: Callable[[str], Iterable[Metric]]
) -> None:
    registry = await counted()
    response = await HealthPort([], registry).respond("/metrics", accept)
    assert response.content_type.startswith(content_type)
    assert isinstance(response.body, bytes)
    families = {family.name: family for family in read(response.body.decode())}
    assert len(families) > 15
    outcomes = {
        each.labels["outcome"]: each.value
        for family in families.values()
        for each in family.samples
        if each.name == "rpcb_requests_total" and each.value
    }
    assert outcomes == {"success": 1, "infer": 1}


async def test_the_port_shows_metrics_beside_its_probes() -> None:
    registry = CollectorRegistry()
    MetricsInstrument(registry)
    async with open_health_port(0, [HealthInstrument()], metrics=registry) as port:
        status, body, headers = await ask_port(port, "/metrics")
        probe, *_ = await ask_port(port, "/livez")
        _, missing, _ = await ask_port(port, "/")
    assert (status, probe) == (200, 200)
    assert body.startswith(b"# HELP rpcb_build_info ")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"/metrics" in missing


class Broken:
    def collect(self) -> Iterator[Metric]:
        raise OSError("no GPU")


async def test_a_collector_that_fails_is_a_500_and_a_line_of_the_log_and_probes_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    registry.register(Broken())
    async with open_health_port(0, [], metrics=registry) as port:
        status, body, _ = await ask_port(port, "/metrics")
        probe, *_ = await ask_port(port, "/livez")
    assert (status, probe) == (500, 200)
    assert b"OSError" in body
    assert ("rpcb_trio", logging.ERROR) in [each[:2] for each in caplog.record_tuples]


class Slow:
    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.asked.set()
        self.let_go.wait(20)
        yield GaugeMetricFamily("mine", "", 1)


async def test_a_slow_collector_delays_no_probe() -> None:
    registry, slow = CollectorRegistry(), Slow()
    registry.register(slow)
    answers: list[int] = []
    async with open_health_port(0, [], metrics=registry) as port:

        async def scrape() -> None:
            answers.append((await ask_port(port, "/metrics"))[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(scrape)
            await trio.to_thread.run_sync(slow.asked.wait)
            answers.append((await ask_port(port, "/livez"))[0] + 1)
            slow.let_go.set()
    assert answers == [201, 200]
