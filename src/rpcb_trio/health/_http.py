"""One request and its response over HTTP/1.1.

Every connection carries one request, in bounded memory, and is closed after the response. What is not HTTP
gets an error response as far as HTTP has one; else the connection is closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11
import msgspec
import trio

LONGEST_REQUEST = 8192
"""Bytes of a request's line and headers; probes send a few hundred."""

CHUNK = 4096


class Response(msgspec.Struct, frozen=True):
    """Its body is sent as JSON, or as it is where it is bytes."""

    status: HTTPStatus
    body: object
    content_type: str = "application/json"


Responder = Callable[[str, str], Awaitable[Response]]
"""From a path and the header `Accept` to the response."""


async def answer_one(stream: trio.abc.Stream, respond: Responder) -> None:
    """Read a request and send its response.

    Raises:
        trio.BrokenResourceError: the client has closed the connection.
    """
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_REQUEST)
    is_head = False
    try:
        while (request := http.next_event()) is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(CHUNK)))
        if not isinstance(request, h11.Request):
            return
        is_head = request.method == b"HEAD"
        response = await _response_to(request, respond)
    except h11.RemoteProtocolError as error:
        response = _refuse(HTTPStatus(error.error_status_hint))
    if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
        await stream.send_all(_written(http, response, is_head=is_head))


async def _response_to(request: h11.Request, respond: Responder) -> Response:
    if request.method not in (b"GET", b"HEAD"):
        return _refuse(HTTPStatus.METHOD_NOT_ALLOWED)
    path = request.target.partition(b"?")[0].decode("ascii", "replace")
    accept = b",".join(value for name, value in request.headers if name == b"accept")
    return await respond(path, accept.decode("ascii", "replace"))


def _refuse(status: HTTPStatus) -> Response:
    return Response(status, {"error": status.phrase})


def _written(http: h11.Connection, response: Response, *, is_head: bool) -> bytes:
    body = response.body
    if not isinstance(body, bytes):
        body = msgspec.json.encode(body) + b"\n"
    headers = [
        (b"Content-Type", response.content_type.encode()),
        (b"Content-Length", str(len(body)).encode()),
        (b"Cache-Control", b"no-store"),
        (b"Connection", b"close"),
    ]
    if response.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"Allow", b"GET, HEAD"))
    status = response.status
    head = h11.Response(status_code=status, reason=status.phrase, headers=headers)
    events = [head, h11.EndOfMessage()] if is_head else [head, h11.Data(data=body), h11.EndOfMessage()]
    return b"".join(http.send(event) or b"" for event in events)
