"""One question and its answer over HTTP/1.1, whoever asks.

Every connection carries one request, in bounded time and memory, and is closed after the response. What is no
HTTP is answered as far as there is an answer, else hung up on.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import h11
import msgspec
import trio

LONGEST_REQUEST = 8192
"""Bytes of a request's line and headers; probes send a few hundred."""

CHUNK = 4096


class Response(msgspec.Struct, frozen=True):
    """What is answered, as JSON."""

    status: HTTPStatus
    body: object


Answer = Callable[[str], Response]
"""From a path to its response; called on the event loop, so it must not wait."""


async def answer_one(stream: trio.abc.Stream, answer: Answer) -> None:
    """Read a request and answer it.

    Raises:
        trio.BrokenResourceError: the client has hung up.
    """
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_REQUEST)
    try:
        request = await _read_request(stream, http)
        if request is None:
            return
        response, head_only = _respond(request, answer)
    except h11.RemoteProtocolError as error:
        response, head_only = _refuse(HTTPStatus(error.error_status_hint)), False
    if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
        await stream.send_all(_written(http, response, head_only=head_only))


async def _read_request(stream: trio.abc.Stream, http: h11.Connection) -> h11.Request | None:
    """The request without its body, which nobody wants; None if the client said nothing."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        http.receive_data(bytes(await stream.receive_some(CHUNK)))


def _respond(request: h11.Request, answer: Answer) -> tuple[Response, bool]:
    if request.method not in (b"GET", b"HEAD"):
        return _refuse(HTTPStatus.METHOD_NOT_ALLOWED), False
    path = request.target.partition(b"?")[0].decode("ascii", "replace")
    return answer(path), request.method == b"HEAD"


def _refuse(status: HTTPStatus) -> Response:
    return Response(status, {"error": status.phrase})


def _written(http: h11.Connection, response: Response, *, head_only: bool) -> bytes:
    body = msgspec.json.encode(response.body) + b"\n"
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Cache-Control", b"no-store"),
        (b"Connection", b"close"),
    ]
    if response.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"Allow", b"GET, HEAD"))
    status = response.status
    written = http.send(h11.Response(status_code=status, reason=status.phrase, headers=headers)) or b""
    if not head_only:
        written += http.send(h11.Data(data=body)) or b""
    return written + (http.send(h11.EndOfMessage()) or b"")
