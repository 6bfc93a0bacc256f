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
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Further ones."""


Responder = Callable[[str, str], Awaitable[Response]]
"""From a path and the header `Accept`, or `Authorization` for a POST, to the response."""


async def answer_one(stream: trio.abc.Stream, respond: Responder, post: Responder | None = None) -> None:
    """Read a request and send its response; `post` is for those of the method POST, whose body is ignored.

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
        if post is not None and request.method == b"POST":
            is_short = await _skip_body(http, stream)
            refusal = _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            response = await _response_to(request, post, b"authorization") if is_short else refusal
        elif request.method in (b"GET", b"HEAD"):
            response = await _response_to(request, respond, b"accept")
        else:
            response = not_allowed("GET, HEAD")
    except h11.RemoteProtocolError as error:
        response = _refuse(HTTPStatus(error.error_status_hint))
    if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
        await stream.send_all(_written(http, response, is_head=is_head))


async def _response_to(request: h11.Request, respond: Responder, header: bytes) -> Response:
    path = request.target.partition(b"?")[0].decode("ascii", "replace")
    given = b",".join(value for name, value in request.headers if name == header)
    return await respond(path, given.decode("utf-8", "replace"))


async def _skip_body(http: h11.Connection, stream: trio.abc.Stream) -> bool:
    """Read a body to its end, so that its sender reads the response; False where it is too long for that."""
    size = 0
    while not isinstance(event := http.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(CHUNK)))
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > LONGEST_REQUEST:
                return False
    return True


def not_allowed(methods: str) -> Response:
    """The response where a path has other methods."""
    status = HTTPStatus.METHOD_NOT_ALLOWED
    return Response(status, {"error": status.phrase}, headers=((b"Allow", methods.encode()),))


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
        *response.headers,
    ]
    status = response.status
    head = h11.Response(status_code=status, reason=status.phrase, headers=headers)
    events = [head, h11.EndOfMessage()] if is_head else [head, h11.Data(data=body), h11.EndOfMessage()]
    return b"".join(http.send(event) or b"" for event in events)
