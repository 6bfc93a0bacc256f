"""What may be asked of a process over HTTP, by who bears its token."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

import msgspec
import trio

from rpcb_trio.errors import SettingError
from rpcb_trio.health._http import Response

log = logging.getLogger("rpcb_trio")

HINT = "there is no control_token, so nothing is reloaded over HTTP; set control_token_file, or send SIGHUP"


class Reloaded(Protocol):
    """What came of a reload; all of it is sent as JSON."""

    @property
    def error(self) -> str | None:
        """Why nothing was changed, where that is so."""
        ...


class Control(msgspec.Struct, frozen=True):
    """`POST /reload`, with `Authorization: Bearer TOKEN`."""

    token: Callable[[], str | None]
    """Returns the token as it is now; called in a thread, since it may be in a file."""
    reload: Callable[[], Awaitable[Reloaded]]

    async def refusal(self, authorization: str) -> Response | None:
        """Why a request with that header is not granted; None where it is."""
        try:
            token = await trio.to_thread.run_sync(self.token, abandon_on_cancel=True)
        except SettingError as error:
            log.warning("nobody can reload over HTTP: %s", error)
            return Response(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "its control_token can't be read"})
        if not token:  # an empty one anybody could bear
            return Response(HTTPStatus.NOT_FOUND, {"error": HINT})
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_bytes(given.strip()), _bytes(token)):
            return None
        log.warning("a reload over HTTP was refused: the token is missing or wrong")
        why = "the token is missing or wrong; send the control_token as Authorization: Bearer TOKEN"
        return Response(HTTPStatus.UNAUTHORIZED, {"error": why}, headers=((b"WWW-Authenticate", b"Bearer"),))

    async def reloaded(self) -> Response:
        """Reload, and report: 200 where the settings were read, 409 where nothing was changed."""
        report = await self.reload()
        return Response(HTTPStatus.OK if report.error is None else HTTPStatus.CONFLICT, report)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # a variable may hold what is no text
