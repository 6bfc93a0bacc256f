"""Faults of our own, told within bounds: the first of a kind with its traceback, the others in a line."""

from __future__ import annotations

import logging
import traceback
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rpcb_trio._gateway._answers import Cut
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._request_ids import request_id_of
from rpcb_trio._gateway._responses import failure
from rpcb_trio._shown import shown

MOST_KINDS = 64
"""That are told in full."""

LONGEST_FAULT = 200
"""Letters of an error's text in a line; it may quote what a client has sent."""


class Faults:
    """Tells them to a log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told: set[tuple[type, str]] = set()

    def tell(self, what: str, error: BaseException) -> None:
        """Tell of one; `what` says what it has cost."""
        kind = (type(error), _place(error))
        if kind in self._told or len(self._told) >= MOST_KINDS:
            self._log.warning(
                "%s: %s: %s (%s)", what, type(error).__name__, shown(str(error), LONGEST_FAULT), kind[1]
            )
            return
        self._told.add(kind)
        self._log.error("%s; it is told in full once", what, exc_info=error)


class Guard:
    """Middleware that lets no fault out: its request gets 500, or an early end of what has begun."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            await send(message)
            has_begun = True

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:  # noqa: BLE001 - it is told
            if _is_cut(error):
                return
            self._faults.tell("the gateway failed at a request", error)
            if not has_begun:
                problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "gateway", "the gateway itself failed")
                failed = failure(None, problem, request_id=request_id_of(scope), retry_after=0)
                await failed(scope, receive, send)


def _is_cut(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_is_cut(each) for each in error.exceptions)
    return isinstance(error, Cut)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
