"""Middleware that looks at where a request says it was sent to, before anything goes by that."""

from __future__ import annotations

import re
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._request_ids import request_id_of
from rpcb_trio._gateway._responses import failure

HOST = re.compile(r"(?P<name>[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?", re.ASCII)
"""What clients send: a name, or an address, and perhaps a port."""

SCHEMES = ("http", "https")


class Arrivals:
    """Refuses hosts that can't be read or are not ours; learns the scheme from a proxy that is trusted."""

    def __init__(self, app: ASGIApp, options: GatewayOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check(headers.get("host"))
        except Problem as problem:
            refused = failure(None, problem, request_id=request_id_of(scope), retry_after=0, lingering=True)
            await refused(scope, receive, send)
            return
        await self._app({**scope, "scheme": self._scheme(scope, headers)}, receive, send)

    def _check(self, host: str | None) -> None:
        if host is None:  # HTTP/1.0 has none
            return
        found = HOST.fullmatch(host)
        if found is None:
            raise Problem(HTTPStatus.BAD_REQUEST, "host", "the header Host names no host")
        name = found["name"][:80]
        if not self._options.allows_host(found["name"]):
            why = f"{name} is none of the gateway's names; start it with --allowed-host {name}"
            raise Problem(HTTPStatus.MISDIRECTED_REQUEST, "host", why)

    def _scheme(self, scope: Scope, headers: Headers) -> str:
        scheme: str = scope.get("scheme", "http")
        peer = (scope.get("client") or ("",))[0]
        if not self._options.trusted_proxy or not self._options.trusts_proxy(str(peer)):
            return scheme
        told = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        return told if told in SCHEMES else scheme
