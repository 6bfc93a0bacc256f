"""ASGI middleware around every request: the span of its trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from rpcb_trio._gateway._middleware import HttpMiddleware, loggable_path
from rpcb_trio._messages import REQUEST_ID_HEADER
from rpcb_trio._tracing import spans

SPAN = "rpcb.span"
"""The key of a request's span in its ASGI scope."""

UNTRACED = frozenset({"/livez", "/readyz", "/metrics", "/events"})
"""Paths that are asked again and again, or for ever."""


class Traced(HttpMiddleware):
    """Goes on with the trace that a client's `traceparent` names, or begins one, where an SDK records it."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        opentelemetry = spans()
        if opentelemetry is None or scope["path"].rstrip("/") in UNTRACED:
            await self.app(scope, receive, send)
            return
        client = scope.get("client")
        with opentelemetry.serving(
            str(scope["method"]),
            loggable_path(scope),
            str(scope.get("scheme", "http")),
            None if client is None else str(client[0]),
            Headers(scope=scope),
        ) as serving:

            async def send_noted(message: Message) -> None:
                if serving is not None and message["type"] == "http.response.start":
                    headers = Headers(raw=message["headers"])
                    serving.answered(message["status"], headers.get(REQUEST_ID_HEADER, ""))
                await send(message)

            await self.app({**scope, SPAN: serving}, receive, send_noted)


def note_route(request: Mapping[str, Any], route: str) -> None:
    """Note which route a request is for, given it or its scope."""
    if (serving := request.get(SPAN)) is not None:
        serving.reached(route)
