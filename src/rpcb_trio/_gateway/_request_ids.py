"""A name for each request, from the client or of our own, in the log and in the answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rpcb_trio._gateway._front import REQUEST_ID_HEADER

log = logging.getLogger("rpcb_trio")

KEY = "rpcb.request_id"
"""In the scope."""

LONGEST_PATH = 200
"""Letters of a path that a line shows."""

ACCEPTABLE = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


class RequestIds:
    """Middleware that gives each request its id, and logs how it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if ACCEPTABLE.fullmatch(given) else uuid4().hex
        started = anyio.current_time()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
                _tell(scope, message["status"], anyio.current_time() - started, request_id)
            await send(message)

        await self._app({**scope, KEY: request_id}, receive, send_with_id)


def request_id_of(request: Mapping[str, Any]) -> str:
    """The id of a request, or of its scope."""
    return str(request[KEY])


def _tell(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.DEBUG
    path = scope["path"][:LONGEST_PATH]
    log.log(level, "%s %r: %d in %.3f s (%s)", scope["method"][:20], path, status, seconds, request_id)
