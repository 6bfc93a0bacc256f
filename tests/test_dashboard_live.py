"""A real Prometheus answers what dashboard and alert rules ask."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import trio
from prometheus_client import CollectorRegistry, Gauge

from deploy.dashboards._rows import ROWS
from rpcb_trio import HealthInstrument, MemoryBroker, open_client, serve
from rpcb_trio.gateway import GatewayOptions, make_app
from rpcb_trio.health import open_health_port
from rpcb_trio.metrics import MetricsInstrument
from tests.gateway.fronts import asking
from tests.prometheus import Series, scraping
from tests.promql import filled_in
from tests.test_alerts import FOLDER, RULES

QUEUES = {"asr", "se"}
QUERIES = [query for row in ROWS for panel in row.panels for query in panel.queries]


def partly(bodies: list[bytes]) -> list[bytes | Exception]:
    """A service that fails some requests."""
    return [ValueError("sick") if body == b"sick" else body for body in bodies]


@asynccontextmanager
async def busy(registry: CollectorRegistry, jobs: Path) -> AsyncIterator[str]:
    """Two workers and a gateway with jobs, under a steady load; gives the address that all is scraped at."""
    broker, health = MemoryBroker(), HealthInstrument("all")
    async with trio.open_nursery() as nursery, open_health_port(0, [health], metrics=registry) as port:
        for queue in QUEUES:
            start = partial(serve, partly, broker, queue, model_version="2", no_reply_to="dead-letter")
            await nursery.start(partial(start, instruments=[MetricsInstrument(registry)]))
        async with open_client(broker) as client:
            app = make_app(client, {}, GatewayOptions(rpc=("*",), jobs=str(jobs)), metrics=registry)
            async with app.router.lifespan_context(app), asking(app) as http:
                for queue in QUEUES:
                    nursery.start_soon(load, broker, http, queue)
                yield f"127.0.0.1:{port.port}"
                nursery.cancel_scope.cancel()


async def load(broker: MemoryBroker, http: httpx.AsyncClient, queue: str) -> None:
    """Good requests, sick ones, some that name nobody to reply to, and jobs, without end."""
    while True:
        broker.publish(b"to nobody", routing_key=queue)
        for body in (b"good", b"sick"):
            await http.post(f"/rpc/{queue}", content=body)
        await http.post(f"/jobs/{queue}", content=b"good")
        await trio.sleep(0.1)


def at_rabbitmq(registry: CollectorRegistry) -> None:
    """What RabbitMQ tells of its queues."""
    for name in ("messages_ready", "messages_unacked", "consumers"):
        gauge = Gauge(
            f"rabbitmq_detailed_queue_{name}", "Of RabbitMQ.", ["vhost", "queue"], registry=registry
        )
        for queue in QUEUES:
            gauge.labels(vhost="/", queue=queue).set(1)


def are_of(queues: set[str], found: list[Series]) -> bool:
    """Whether each of these queues, and no other, has a line."""
    return {labels.get("queue", "") for labels, _ in found} == queues


def name_of(line: Series, legend: str) -> str:
    """As Grafana makes it."""
    labels, _ = line
    return re.sub(r"{{(\w+)}}", lambda label: labels[label[1]], legend)


async def test_a_real_prometheus_answers_every_query_and_evaluates_every_rule(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    at_rabbitmq(registry)
    async with (
        busy(registry, tmp_path / "jobs") as target,
        scraping(tmp_path, rules=FOLDER / "rpcb.yaml", all=target) as prometheus,
    ):
        for query in QUERIES:
            expected = QUEUES if "{{queue}}" in query.legend else {""}
            found = await prometheus.until(filled_in(query.expr), holds=partial(are_of, expected))
            names = {name_of(line, query.legend) for line in found}
            assert len(names) == len(found), query
        rules = await prometheus.rules()
    assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in RULES}
    assert [rule for rule in rules if rule["health"] == "err"] == []
