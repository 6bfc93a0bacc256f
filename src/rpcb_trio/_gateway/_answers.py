"""Middleware that holds all answers together to their bound."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._request_ids import request_id_of
from rpcb_trio._gateway._responses import failure
from rpcb_trio._gateway._unsent import Unsent

SMALL = FileResponse.chunk_size
"""Bytes that are not counted: the server hangs up on who does not take so many within its patience."""


class Cut(Exception):
    """An answer that has begun has no room to go on; the connection is to end, for nothing else can tell."""


class BoundedAnswers:
    """As ASGI has middleware."""

    def __init__(self, app: ASGIApp, unsent: Unsent, retry_after: int) -> None:
        self._app = app
        self._unsent = unsent
        self._retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(self, scope, receive, send)
        await self._app(scope, receive, answer.send)

    def refusal(self, scope: Scope) -> ASGIApp:
        """What is answered in the place of an answer that there is no room for."""
        why = f"answers that others have not taken yet hold {self._unsent.held} bytes; come again"
        problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", why)
        return failure(None, problem, request_id=request_id_of(scope), retry_after=self._retry_after)

    @property
    def unsent(self) -> Unsent:
        """Whose room it is."""
        return self._unsent


class _Answer:
    """One answer on its way out."""

    def __init__(self, bounds: BoundedAnswers, scope: Scope, receive: Receive, send: Send) -> None:
        self._bounds = bounds
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start: Message | None = None
        self._is_over = False

    async def send(self, message: Message) -> None:
        """Send on, within the bounds; after a refusal nothing more."""
        if self._is_over:
            return
        if message["type"] == "http.response.start" and _has_length(message):
            self._start = message  # its body follows, and there may be no room for that
        elif message["type"] == "http.response.body":
            await self._send_body(message)
        else:
            await self._send(message)

    async def _send_body(self, message: Message) -> None:
        size = len(message.get("body", b""))
        start, self._start = self._start, None
        if size > SMALL and not self._bounds.unsent.make_room(size):
            if start is None:
                self._bounds.unsent.break_off(size, _client(self._scope))
                raise Cut
            self._is_over = True
            await self._bounds.refusal(self._scope)(self._scope, self._receive, self._send)
            return
        if start is not None:
            await self._send(start)
        if size <= SMALL:
            await self._send(message)
            return
        with self._bounds.unsent.taking(size, _client(self._scope)):
            await self._send(message)
            return
        raise Cut


def _has_length(start: Message) -> bool:
    return any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))


def _client(scope: Scope) -> str:
    return str((scope.get("client") or ("?",))[0])
