"""ASGI middleware around every request: its id, faults of our own, where it was sent to, its last message."""

from __future__ import annotations

import logging
import re
import traceback
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import REQUEST_ID, failure
from rpcb_trio._messages import REQUEST_ID_HEADER
from rpcb_trio._shown import shown
from rpcb_trio._tracing import ACCEPTABLE_ID, trace_id_in

log = logging.getLogger("rpcb_trio")

LONGEST_PATH = 200
"""Characters of a path that a line of the log shows."""

MOST_FAULTS = 64
"""Kinds of faults that are logged with their traceback."""

SECRET = re.compile(r"(/(?:jobs|files)/[^/]{12})[^/]{8,}")
"""The id of a job, the name of a file; of each its beginning is left, by which it can be found."""

LONGEST_FAULT = 200
"""Characters of an error's text in a line; it may quote what a client has sent."""

HOST = re.compile(r"(?P<name>[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?", re.ASCII)
"""What clients send: a name or an address, and a port or none."""

READABLE = frozenset({"cache-control", "content-length", "content-type"})
"""Headers that pages of other origins read without asking (the Fetch Standard's safelist)."""

OWN_SITE = ("same-origin", "none")
"""Of `Sec-Fetch-Site` (W3C Fetch Metadata): our own page, or the browser's user."""


class Cut(Exception):
    """A response that has begun can't go on; only the end of its connection can tell the client."""


class HttpMiddleware:
    """Base of the others: passes on what is no HTTP request, such as the lifespan."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.handle if scope["type"] == "http" else self.app)(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class ShieldedEnd(HttpMiddleware):
    """Shields the last message of each response from cancellation.

    While that is sent, hypercorn turns to the connection's next request or closes it, and tells the app that
    this request is over; then Starlette's responses of files and streams cancel what they are doing, which is
    that message. The connection would stay open for good, and a drain would wait for it.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_to_the_end(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            is_short = len(message.get("body", b"")) <= FileResponse.chunk_size  # no stream has longer ones
            with anyio.CancelScope(shield=is_last and is_short):
                await send(message)

        await self.app(scope, receive, send_to_the_end)


class RequestIds(HttpMiddleware):
    """Gives each request an id, the client's own if it sends a sane one, and logs how the request ended."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if ACCEPTABLE_ID.fullmatch(given) else uuid4().hex
        started = anyio.current_time()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
                _log_end(scope, message["status"], anyio.current_time() - started, request_id)
            await send(message)

        await self.app({**scope, REQUEST_ID: request_id}, receive, send_with_id)


def _log_end(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    method, path = scope["method"][:20], loggable_path(scope)
    fields: dict[str, object] = {"request_id": request_id, "trace_id": trace_id_in(Headers(scope=scope))}
    fields |= {"method": method, "path": path, "status": status, "seconds": round(seconds, 6)}
    log.log(level, "%s %r: %d in %.3f s (%s)", method, path, status, seconds, request_id, extra=fields)


def loggable_path(scope: Scope) -> str:
    """The path without what whoever knows it gets a reply or a file by, and bounded."""
    return SECRET.sub(r"\1...", scope["path"])[:LONGEST_PATH]


class Faults:
    """Logs faults of our own: the first of a kind with its traceback, further ones in one line."""

    def __init__(self) -> None:
        self._log = logging.getLogger("rpcb_trio.http")
        self._seen: set[tuple[type, str]] = set()

    def record(self, what: str, error: BaseException) -> None:
        """Log a fault; `what` says what it has cost."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
        kind = (type(error), place)
        if kind in self._seen or len(self._seen) >= MOST_FAULTS:
            text = shown(str(error), LONGEST_FAULT)
            self._log.warning("%s: %s: %s (%s)", what, type(error).__name__, text, place)
            return
        self._seen.add(kind)
        self._log.error("%s; the traceback of such an error is logged once", what, exc_info=error)


class FaultBarrier(HttpMiddleware):
    """Lets no fault out: its request gets 500, or an early end where the response has begun."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        super().__init__(app)
        self._faults = faults

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            await send(message)
            has_begun = True

        try:
            await self.app(scope, receive, send_on)
        except Exception as error:  # noqa: BLE001 - it is logged
            if _is_cut(error):
                return
            self._faults.record("the gateway failed at a request", error)
            if not has_begun:
                problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "gateway", "the gateway itself failed")
                await failure(None, problem, scope)(scope, receive, send)


def _is_cut(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_is_cut(each) for each in error.exceptions)
    return isinstance(error, Cut)


class ExposedHeaders(HttpMiddleware):
    """Lets pages of other origins read all headers of a response; which origins those are is another matter.

    Each response names its own: services answer with headers that no list could know.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_exposing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                names = {REQUEST_ID_HEADER, *map(str.lower, headers.keys())} - READABLE
                headers["access-control-expose-headers"] = ", ".join(sorted(names))
            await send(message)

        await self.app(scope, receive, send_exposing)


class TrustedHosts(HttpMiddleware):
    """Refuses hosts that can't be read or are not ours; takes the scheme from a trusted proxy."""

    def __init__(self, app: ASGIApp, options: GatewayOptions) -> None:
        super().__init__(app)
        self._options = options

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._check(headers.get("host"))
        except Problem as problem:
            await failure(None, problem, scope, is_lingering=True)(scope, receive, send)
            return
        await self.app({**scope, "scheme": self._scheme(scope, headers)}, receive, send)

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
        forwarded = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        return forwarded if forwarded in ("http", "https") else scheme


def refuse_foreign_page(request: Request, options: GatewayOptions) -> None:
    """Refuse a request of another origin's page, unless `cors` names that; programs send no origin.

    Browsers let any page send a form, though not read the response.

    Raises:
        Problem: 403.
    """
    origin = request.headers.get("origin")
    if origin is None or origin in options.cors or "*" in options.cors:
        return
    site = request.headers.get("sec-fetch-site")
    hosts = (request.headers.get("host"), _netloc(options.public_url or ""))
    netloc = _netloc(origin)
    is_own = (netloc is not None and netloc in hosts) if site is None else site in OWN_SITE
    if not is_own:
        why = f"pages of {origin[:80]} may not call; start the gateway with --cors {origin[:80]}"
        raise Problem(HTTPStatus.FORBIDDEN, "origin", why)


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc or None
    except ValueError:  # browsers send no such origin
        return None
