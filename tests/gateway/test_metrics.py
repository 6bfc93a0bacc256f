"""What the gateway counts: each request of a service, by its route and its status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, open_client, serve
from rpcb_trio.errors import SettingError
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from rpcb_trio.testing import VirtualExecutor, in_place
from tests.gateway.fronts import asking, echo
from tests.metrics.samples import buckets, samples, value

ROUTES: dict[str, Any] = {
    "form": {"queue": "echo", "body": "bytes", "form": {"audio": "file"}},
    "slow": {"queue": "nobody", "timeout": 2.0, "path": "/v1/slow"},
}
OPTIONS = GatewayOptions(rpc=("echo", "team-*"))


@asynccontextmanager
async def metered(registry: CollectorRegistry) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway in front of an echo that takes 0.25 s, and of a queue that nobody serves."""
    broker = MemoryBroker()
    broker.declare("nobody")
    executors = [VirtualExecutor(echo, lambda _: 0.25)]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, echo, broker, "echo", executors=executors, offload=in_place))
        async with open_client(broker) as client:
            app = make_app(client, read_routes(ROUTES), OPTIONS, metrics=registry)
            async with app.router.lifespan_context(app), asking(app) as http:
                yield http
        nursery.cancel_scope.cancel()


def requests(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    found = samples(registry, "rpcb_gateway_requests_total")
    return {(dict(labels)["route"], dict(labels)["status"]): count for labels, count in found.items()}


async def test_each_request_counts_by_the_path_of_its_route_and_its_status_and_how_long_it_took(
    autojump_clock: MockClock,
) -> None:
    registry = CollectorRegistry()
    async with metered(registry) as http:
        await http.post("/form", files={"audio": b"1"})
        await http.post("/form/", files={"audio": b"1"})
        await http.post("/form")
        await http.post("/v1/slow")
        await http.get("/v1/slow")
        await http.post("/rpc/echo", content=b"1")
    assert requests(registry) == {
        ("/form", "200"): 2,
        ("/form", "422"): 1,
        ("/v1/slow", "504"): 1,
        ("/v1/slow", "405"): 1,
        ("/rpc/echo", "200"): 1,
    }
    name = "rpcb_gateway_request_duration_seconds"
    assert buckets(registry, name, route="/v1/slow") == {0.001: 1, 2.0: 1}
    assert value(registry, f"{name}_sum", route="/rpc/echo") == 0.25


async def test_names_that_clients_make_up_share_one_label_and_what_is_no_service_s_is_not_counted(
    autojump_clock: MockClock,
) -> None:
    registry = CollectorRegistry()
    async with metered(registry) as http:
        for number in range(20):
            await http.post(f"/rpc/team-{number}", content=b"1")
            await http.post(f"/rpc/other-{number}", content=b"1")
            await http.get(f"/nothing-{number}")
        await http.get("/livez")
        await http.options("/form")
    assert {route for route, _ in requests(registry)} == {"/rpc/{name}"}
    assert sum(requests(registry).values()) == 40


async def test_a_request_is_in_flight_until_it_is_answered_and_one_whose_client_hangs_up_is_499(
    autojump_clock: MockClock,
) -> None:
    registry = CollectorRegistry()
    in_flight = partial(value, registry, "rpcb_gateway_in_flight", route="/v1/slow")
    async with metered(registry) as http:
        with trio.move_on_after(1.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(http.post, "/v1/slow")
                nursery.start_soon(http.post, "/v1/slow")
                await trio.testing.wait_all_tasks_blocked()
                during = in_flight()
        after = in_flight()
    assert (during, after) == (2, 0)
    assert requests(registry) == {("/v1/slow", "499"): 2}


async def test_the_gateway_shows_its_metrics_and_those_of_the_registry_s_other_collectors() -> None:
    registry = CollectorRegistry()
    async with metered(registry) as http:
        await http.post("/rpc/echo", content=b"1")
        answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert 'rpcb_gateway_requests_total{route="/rpc/echo",status="200"} 1.0' in answer.text
    assert "rpcb_build_info{" in answer.text


async def test_without_a_registry_there_are_no_metrics_but_the_path_is_kept_for_them() -> None:
    async with open_client(MemoryBroker()) as client:
        app = make_app(client, options=OPTIONS)
        async with app.router.lifespan_context(app), asking(app) as http:
            assert (await http.get("/metrics")).status_code == 404
    with pytest.raises(SettingError, match=r"path /metrics is the gateway's own"):
        read_routes({"metrics": {"queue": "metrics"}})
