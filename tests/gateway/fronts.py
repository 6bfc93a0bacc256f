"""A gateway in the process, in front of services on an embedded broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httpx
import msgspec
import trio
import trio.testing
from starlette.applications import Starlette

from rpcb_trio import MemoryBroker, Reply, RpcClient, Topology, open_client, serve
from rpcb_trio._service import bind
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from rpcb_trio.testing import VirtualExecutor, in_place

Bodies = Callable[[list[bytes]], list[bytes]]

ENVELOPE = "rpcb_models.envelope:RECOGNITION"
"""That of rabbit-rpc-client, as an example."""


def echo(bodies: list[bytes]) -> list[bytes]:
    """Answers each body with itself."""
    return bodies


def told(answer: object) -> Bodies:
    """A service that always answers the same, in msgpack."""
    return lambda bodies: [msgspec.msgpack.encode(answer)] * len(bodies)


def one_by_one(answer: Callable[[dict[str, Any]], object]) -> Bodies:
    """A service that answers a msgpack map with what the function makes of it, in msgpack."""
    return lambda bodies: [msgspec.msgpack.encode(answer(msgspec.msgpack.decode(each))) for each in bodies]


@dataclass(frozen=True)
class Started:
    """A service, and how it is served."""

    service: Any
    how: Mapping[str, Any]


def batch_headers(service: Any) -> Started:
    """The service, served with headers that tell of its batches."""
    return Started(service, {"batch_headers": True})


class Gateway:
    """A gateway under test, and what is behind it."""

    def __init__(self, app: Starlette, client: RpcClient) -> None:
        self.app = app
        self.client = client

    @property
    def in_flight(self) -> int:
        """How many requests await a reply."""
        in_flight: int = self.app.state.dispatcher.in_flight
        return in_flight

    async def until_in_flight(self, count: int) -> None:
        """Wait until so many requests await a reply."""
        while self.in_flight != count:
            await trio.testing.wait_all_tasks_blocked()


class Front(Gateway):
    """One that is asked over HTTP without any network."""

    def __init__(self, behind: Gateway, http: httpx.AsyncClient) -> None:
        super().__init__(behind.app, behind.client)
        self.http = http


@asynccontextmanager
async def front(
    routes: Mapping[str, Any] | None = None,
    options: GatewayOptions = GatewayOptions(),  # noqa: B008 - it is frozen
    **services: Any,
) -> AsyncIterator[Front]:
    """A gateway as `behind` has it, open and ready to be asked."""
    async with behind(routes, options, **services) as gateway:
        app = gateway.app
        async with app.router.lifespan_context(app), asking(app) as http:
            yield Front(gateway, http)


@asynccontextmanager
async def behind(
    routes: Mapping[str, Any] | None = None,
    options: GatewayOptions = GatewayOptions(),  # noqa: B008 - it is frozen
    **services: Any,
) -> AsyncIterator[Gateway]:
    """Serve each service from a queue of its name, and make the app in front of them.

    A service that is None has a queue, but nobody who answers. Nothing runs in threads, so that the clock may
    jump.
    """
    broker = MemoryBroker()
    async with trio.open_nursery() as nursery:
        for name, service in services.items():
            if service is None:
                broker.declare(name)
                continue
            started = service if isinstance(service, Started) else Started(service, {})
            bound = bind(started.service)
            start = partial(serve, bound, broker, Topology(queue=name), offload=in_place, decode_threads=1)
            await nursery.start(
                partial(start, **{"executors": [VirtualExecutor(bound.infer)], **started.how})
            )
        async with open_client(broker) as client:
            typed = {name: each for name, each in services.items() if name.startswith("typed")}
            yield Gateway(make_app(client, read_routes(routes or {}), options, typed=typed), client)
        nursery.cancel_scope.cancel()


class Canned:
    """A client whose every call gets this reply, or raises this error, whatever a worker could send."""

    is_connected = True
    largest_request = None

    def __init__(self, outcome: Reply | Exception) -> None:
        self._outcome = outcome

    async def call(self, *_: object, **__: object) -> Reply:
        await trio.lowlevel.checkpoint()
        if isinstance(self._outcome, Reply):
            return self._outcome
        raise self._outcome


@asynccontextmanager
async def answered_with(
    outcome: Reply | Exception,
    routes: Mapping[str, Any] | None = None,
    options: GatewayOptions = GatewayOptions(rpc=("*",)),  # noqa: B008 - it is frozen
) -> AsyncIterator[httpx.AsyncClient]:
    """Ask a gateway in front of workers that all reply the same."""
    app = make_app(cast("RpcClient", Canned(outcome)), read_routes(routes or {}), options)
    async with app.router.lifespan_context(app), asking(app) as http:
        yield http


def asking(app: Starlette) -> httpx.AsyncClient:
    """An HTTP client of the app, without any network; what crashes in the app crashes the test."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")
