"""Answers and failures as HTTP responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rpcb_trio._gateway._extensions import envelope_of
from rpcb_trio._gateway._forms import JSON
from rpcb_trio._gateway._problems import Problem, status_of_error
from rpcb_trio._gateway._replies import plain_or, reply_headers
from rpcb_trio._gateway._routes import Route
from rpcb_trio._messages import ERROR_HEADER, REQUEST_ID_HEADER, Reply
from rpcb_trio._shares import REPLY_TO
from rpcb_trio._tracing import context_in

BINARY = "application/octet-stream"
PROBLEM_JSON = "application/problem+json"

REQUEST_ID = "rpcb.request_id"
"""The key of a request's id in its ASGI scope."""

CALLER = "rpcb.caller"
"""The key of the name of a request's caller in its ASGI scope, where callers are known."""

Shape = Callable[[Problem], tuple[int, bytes]]
"""Makes an HTTP status and a body in JSON of a problem."""

SHAPE = "rpcb.shape"
"""The key of the `Shape` of a request's path in its ASGI scope, where that is a known API's."""

INERT = {"content-security-policy": "default-src 'none'; sandbox", "x-content-type-options": "nosniff"}
"""For bytes that a service has made: they may be a web page, and its scripts must not run."""

LONGEST_TENANT = 255
"""Characters of a tenant's name that travel."""

LINGER = 2.0
"""Seconds for which a refused client may go on sending; to close at once could cost it the response."""

MOST_PIECES = 4096
"""In which a refused client may send; each piece costs processor time."""


class Lingering(Response):
    """A response to a request whose body was not read to its end: sent first, then the body is dropped."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send, then receive for a while."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with anyio.move_on_after(LINGER):
            for _ in range(MOST_PIECES):
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def request_id_of(request: Mapping[str, Any]) -> str:
    """The id of a request, given it or its scope."""
    return str(request[REQUEST_ID])


def travelling(request: Request, tenant: str | None) -> dict[str, object]:
    """The headers that travel with a request to services: its id, the context of its trace, its tenant.

    Where callers are known, a tenant is a caller, whatever header it sends.
    """
    headers: dict[str, object] = {
        REQUEST_ID_HEADER: request_id_of(request),
        **context_in(request.headers),
    }
    if tenant is not None and tenant != REPLY_TO:
        name = request.scope.get(CALLER) or request.headers.get(tenant)
        if name:
            headers[tenant] = name[:LONGEST_TENANT]
    return headers


def asks_for_problems(request: Request) -> bool:
    """Whether the client accepts problems (RFC 9457), whatever the route's envelope."""
    for each in request.headers.get("accept", "").split(","):
        media_type, *parameters = (part.strip().lower().replace(" ", "") for part in each.split(";"))
        if media_type == PROBLEM_JSON and not any(re.fullmatch(r"q=0(\.0*)?", part) for part in parameters):
            return True
    return False


def success(route: Route, answer: bytes, headers: Mapping[str, str]) -> Response:
    """A response with the answer, which is JSON already."""
    envelope = envelope_of(route)
    body = answer if envelope is None else envelope.success(answer)
    return Response(body, media_type=JSON, headers=headers)


def passed(reply: Reply, *, retry_after: int) -> Response:
    """A response with the reply's body as it is, and the HTTP status of its error."""
    status = HTTPStatus.OK if reply.error is None else status_of_error(reply)
    content_type = plain_or(reply.content_type or BINARY, BINARY)
    headers = {"content-type": content_type, **INERT, **reply_headers(reply)}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(retry_after)
    return Response(reply.body, status, headers)


def failure(
    route: Route | None,
    problem: Problem,
    request: Mapping[str, Any],
    *,
    retry_after: int = 0,
    is_lingering: bool = False,
) -> Response:
    """A response with the problem: in the route's envelope, or the shape of the path's API, where it has one.

    Args:
        route: None for a problem as RFC 9457 has it, where the path is that of no known API.
        problem: why the request failed.
        request: the request or its scope.
        retry_after: seconds, of a 503.
        is_lingering: whether the request's body is not read to its end.
    """
    envelope = envelope_of(route)
    shape: Shape | None = request.get(SHAPE)
    status, media_type = problem.status, JSON
    if route is not None and envelope is not None:
        status, body = envelope.failure(problem, route.form)
    elif shape is not None:
        status, body = shape(problem)
    else:
        body, media_type = problem.as_json(request_id=request_id_of(request)), PROBLEM_JSON
    headers = {**problem.headers, ERROR_HEADER: plain_or(problem.code, "?")}
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(retry_after)
    kind = Lingering if is_lingering else Response
    return kind(body, status, headers, media_type)
