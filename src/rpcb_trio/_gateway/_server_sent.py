"""Server-sent events (WHATWG HTML, 9.2): the live view, and replies in parts.

A reply in parts has these events: each part without a name, with its number as the id; `end` after the last
one; or `error` with the problem, which ends it. A comment is sent after a while without a part, so that no
proxy takes the connection for idle.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from typing import Protocol

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from rpcb_trio._client import ReplyStream
from rpcb_trio._gateway._forms import JSON, Fields, truth_in, wrong
from rpcb_trio._gateway._problems import Problem, status_of_error
from rpcb_trio._messages import RemoteError, Reply
from rpcb_trio.errors import CallError, SettingError

EVENT_STREAM = "text/event-stream"

STREAM = "stream"
"""The parameter of a query that asks for them."""

NO_FIELDS: Fields = {}

HEARTBEAT = 15.0
"""Seconds without a part until a comment is sent; and until the response begins, though no part is there."""

COMMENT = b": no part yet\n\n"

Read = Callable[[Reply], Awaitable[bytes]]
"""Makes text of a part.

Raises:
    Problem: it can't.
"""


def event_of(data: bytes, *, name: str = "", number: int | None = None) -> bytes:
    """One event; data of several lines stays one event."""
    head = b"event: %b\n" % name.encode() if name else b""
    if number is not None:
        head += b"id: %d\n" % number
    return head + b"".join(b"data: %b\n" % line for line in data.splitlines() or [b""]) + b"\n"


class ServerSentEvents(StreamingResponse):
    """Server-sent events (WHATWG HTML, 9.2), until they end or the browser goes; `held` is left then."""

    def __init__(self, frames: AsyncGenerator[bytes], held: AbstractContextManager[object]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(frames, headers=headers, media_type=EVENT_STREAM)
        self._frames = frames
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        with self._held:
            async with aclosing(self._frames):
                await super().__call__(scope, receive, send)


def asks_for_events(request: Request, form: Fields = NO_FIELDS) -> bool:
    """Whether the client takes the reply in parts; what its query says counts before what it accepts.

    A form's fields may stand in the query, too: one of the name `stream` is the form's.

    Raises:
        Problem: 422, `stream` is no boolean.
    """
    asked = None if STREAM in form else request.query_params.get(STREAM)
    if asked is not None:
        try:
            return truth_in(asked)
        except ValueError as error:
            raise wrong(STREAM, f"{error}; send true or false") from None
    accepted = (each.partition(";")[0].strip() for each in request.headers.get("accept", "").split(","))
    return EVENT_STREAM in map(str.lower, accepted)


class Frames(Protocol):
    """What is sent of a reply in parts."""

    async def part(self, part: Reply) -> bytes:
        """The event of a part.

        Raises:
            Problem: it can't be read.
        """
        ...

    def end(self) -> bytes:
        """The last event, after all parts."""
        ...

    def failure(self, problem: Problem) -> bytes:
        """The last event, where there is no further part."""
        ...


class PartFrames:
    """The events of any route; `read` makes text of a part."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def part(self, part: Reply) -> bytes:
        return event_of(await self._read(part), number=part.part)

    def end(self) -> bytes:
        return event_of(b"{}", name="end")

    def failure(self, problem: Problem) -> bytes:
        return event_of(problem.as_json(), name="error")


class PartEvents:
    """The events of one reply.

    Args:
        parts: of the reply.
        frames: makes an event of each.
    """

    def __init__(self, parts: ReplyStream, frames: Frames) -> None:
        self._parts = parts
        self._frames = frames
        self._first: bytes | None = COMMENT

    async def begin(self) -> None:
        """Wait for the first part, so that an error before it has a status of its own.

        Raises:
            Problem: there is no part.
        """
        self._first = await self._next()

    async def events(self) -> AsyncGenerator[bytes]:
        """All of them, as they are sent."""
        async with self._parts:
            try:
                event = self._first
                while event is not None:
                    yield event
                    event = await self._next()
                yield self._frames.end()
            except Problem as problem:
                yield self._frames.failure(problem)

    async def _next(self) -> bytes | None:
        """The event of the next part; a comment where it is late, None where there is none."""
        part: Reply | None = None
        try:
            with anyio.move_on_after(HEARTBEAT) as scope:
                part = await self._parts.next_part()
        except RemoteError as error:
            raise _problem_of(error.reply) from error
        except (CallError, SettingError) as error:
            raise Problem.of_call(error) from error
        if part is None:
            return COMMENT if scope.cancelled_caught else None
        return await self._frames.part(part)


async def as_text(part: Reply) -> bytes:
    """A part as it is where its content type says that it is text, and in base64 where not."""
    kind = part.content_type.partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind == JSON or kind.endswith("+json"):
        return part.body
    return b64encode(part.body)


def _problem_of(reply: Reply) -> Problem:
    code = reply.error or "service"
    detail = reply.error_reason or f"the service answered with an error ({code})"
    try:
        decoded: object = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    return Problem(status_of_error(reply), code, detail, reply=decoded)
