"""Metrics of the gateway: each request of a service is counted, and `/metrics` shows what was."""

from __future__ import annotations

from http import HTTPStatus

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rpcb_trio._exposition import exposed
from rpcb_trio._gateway._middleware import HttpMiddleware
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._routes import Routes
from rpcb_trio._metrics import GatewayCounts

RPC = "/rpc/"
ANY_NAME = "/rpc/{name}"
"""The label of all names under `/rpc/` that are not written anywhere: clients may make up any number."""
JOBS = "/jobs/"
ANY_JOB = "/jobs/{name}"
"""The label of what submits jobs; to ask for one is no request for a service."""


class Labels:
    """The label of each path that reaches a service: the path of its route.

    Args:
        routes: by their names, each with its path.
        options: which names `/rpc/` reaches, too.
    """

    def __init__(self, routes: Routes, options: GatewayOptions) -> None:
        written = [*routes, *(name for name in options.rpc if options.allows_queue(name) and "*" not in name)]
        self._known = {f"{RPC}{name}": f"{RPC}{name}" for name in written}
        for each in routes.values():
            self._known[each.path] = self._known[f"{each.path.rstrip('/')}/"] = each.path

    def of(self, scope: Scope) -> str | None:
        """None where a request is not for a service."""
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith(JOBS):
            return ANY_JOB if scope["method"] == "POST" else None
        return self._known.get(path) or (ANY_NAME if path.startswith(RPC) else None)


class Metered(HttpMiddleware):
    """Counts the requests of services."""

    def __init__(self, app: ASGIApp, counts: GatewayCounts, labels: Labels) -> None:
        super().__init__(app)
        self._counts = counts
        self._labels = labels

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._labels.of(scope)
        if route is None or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        with self._counts.request(route) as begin_response:

            async def send_counted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    begin_response(message["status"])
                await send(message)

            await self.app(scope, receive, send_counted)


def metrics_path(registry: CollectorRegistry) -> HttpRoute:
    """`/metrics`."""
    scrapes = anyio.CapacityLimiter(1)

    async def metrics(request: Request) -> Response:
        accept = ",".join(request.headers.getlist("accept"))
        body, content_type = await anyio.to_thread.run_sync(
            exposed, registry, accept, limiter=scrapes, abandon_on_cancel=True
        )
        return Response(body, HTTPStatus.OK, {"cache-control": "no-store", "content-type": content_type})

    return HttpRoute("/metrics", metrics)
