"""Answers and problems in the shape that a route's clients read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rpcb_trio._gateway._problems import Problem, status_of_error
from rpcb_trio._gateway._reply_headers import plain_or, reply_headers
from rpcb_trio._gateway._routes import Route
from rpcb_trio._messages import ERROR_HEADER, Reply

BINARY = "application/octet-stream"
JSON = "application/json"
PROBLEM = "application/problem+json"

ENVELOPE_TIMEOUT = 400
ENVELOPE_ERROR = 500
TIMEOUT_MESSAGE = "内部服务调用超时"
ERROR_MESSAGE = "程序内部未知错误"

INERT = {"content-security-policy": "default-src 'none'; sandbox", "x-content-type-options": "nosniff"}
"""What a service has made may be a page with scripts of its own; they don't run here."""

LINGER = 2.0
"""Seconds for which one who is refused may go on sending; to hang up at once could cost it the answer."""

MOST_PIECES = 4096
"""In which it may do so; each costs a moment, however small it is."""


class Envelope(msgspec.Struct, frozen=True):
    """What rabbit-rpc-client answers; the field order is its own."""

    status: int
    message: str
    data: msgspec.Raw | None


class Lingering(Response):
    """A response to a request whose body is not read to its end: answered first, then read and dropped."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with anyio.move_on_after(LINGER):
            for _ in range(MOST_PIECES):
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def success(route: Route, answer: bytes, headers: Mapping[str, str]) -> Response:
    """The answer, which is JSON already."""
    if route.shape == "envelope":
        answer = msgspec.json.encode(Envelope(HTTPStatus.OK, "success", msgspec.Raw(answer)))
    return Response(answer, media_type=JSON, headers=headers)


def asks_for_problems(request: Request) -> bool:
    """Whether the client wants failures as problems, whatever the shape of the route's answers."""
    for each in request.headers.get("accept", "").split(","):
        media_type, *parameters = (part.strip().lower().replace(" ", "") for part in each.split(";"))
        if media_type == PROBLEM and not any(re.fullmatch(r"q=0(\.0*)?", part) for part in parameters):
            return True
    return False


def passed(reply: Reply, *, retry_after: int) -> Response:
    """The reply as it is, with the HTTP status of its error."""
    status = HTTPStatus.OK if reply.error is None else status_of_error(reply)
    content_type = plain_or(reply.content_type or BINARY, BINARY)
    headers = {"content-type": content_type, **INERT, **reply_headers(reply)}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(retry_after)
    return Response(reply.body, status, headers)


def failure(
    route: Route | None, problem: Problem, *, request_id: str, retry_after: int, lingering: bool = False
) -> Response:
    """The problem, as the route's clients read it."""
    headers = {**problem.headers, ERROR_HEADER: plain_or(problem.code, "?")}
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(retry_after)
    kind = Lingering if lingering else Response
    if route is not None and route.shape == "envelope":
        return kind(_enveloped(problem), _envelope_status(problem), headers, JSON)
    return kind(problem.as_json(request_id=request_id), problem.status, headers, PROBLEM)


def _enveloped(problem: Problem) -> bytes:
    if problem.status == HTTPStatus.GATEWAY_TIMEOUT:
        return msgspec.json.encode(Envelope(ENVELOPE_TIMEOUT, TIMEOUT_MESSAGE, None))
    return msgspec.json.encode(Envelope(ENVELOPE_ERROR, problem.message or ERROR_MESSAGE, None))


def _envelope_status(problem: Problem) -> int:
    """The ancestor's statuses stand in its JSON; who balances the load must see that one is too many."""
    return problem.status if problem.code == "busy" else HTTPStatus.OK
