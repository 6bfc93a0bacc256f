"""Who may call what: ASGI middleware that knows callers by their keys and tokens; what each route asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rpcb_trio._gateway._credentials import Credential, Keys, credential_in, read_keys
from rpcb_trio._gateway._middleware import HttpMiddleware
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._rates import Rate, Rates
from rpcb_trio._gateway._responses import CALLER, failure
from rpcb_trio._gateway._routes import Route, Routes
from rpcb_trio._gateway._tokens import Tokens, tokens_of
from rpcb_trio._shown import did_you_mean
from rpcb_trio.errors import SettingError

REALM = 'realm="rpcb-trio"'

OPEN = ("/livez", "/readyz")
"""Probes: they tell nothing that matters, and those who send them have no keys."""

OPEN_BELOW = "/files/"
"""Whoever has the address of a file may fetch it, and nobody can guess one."""

POLICY_VIOLATION = 1008
"""Of a WebSocket that is refused (RFC 6455, 7.4.1); before it is accepted the client gets 403."""

HOW = "send a key as Authorization: Bearer KEY, or as X-API-Key"


class Access:
    """All that a gateway knows of its callers; it follows the options as a reload changes them.

    Raises:
        SettingError: the options for it are wrong.
    """

    def __init__(self, options: Callable[[], GatewayOptions]) -> None:
        self._options = options
        self._rates = Rates()
        self._keys: Keys
        self._tokens: Tokens | None = None
        self._about_tokens: tuple[object, ...] = ()
        self._follow(options())

    @property
    def is_on(self) -> bool:
        """Whether callers must show a key or a token."""
        return self._options().has_callers

    def check_routes(self, routes: Routes) -> None:
        """Refuse routes for callers that there can't be.

        Raises:
            SettingError: one is.
        """
        names = sorted({*self._keys.names.values()})
        for name, route in routes.items():
            for each in route.auth or ():
                if not self.is_on:
                    raise SettingError(
                        f"[routes.{name}]: auth is {each}, but the gateway knows no keys; set api_key_file"
                    )
                if self._tokens is None and not any(fnmatchcase(known, each) for known in names):
                    raise SettingError(
                        f"[routes.{name}]: auth is {each}, and no API key has that name"
                        f"{did_you_mean(each, names)}"
                    )

    async def caller_of(self, headers: Headers) -> str:
        """The name of a caller.

        Raises:
            Problem: 401, it shows nothing, or nothing valid; 503, the keys of tokens can't be had.
        """
        try:
            credential = credential_in(headers.getlist("authorization"), headers.getlist("x-api-key"))
        except ValueError as error:
            raise _unauthenticated(f"the key can't be read: {error}; {HOW}", "invalid_request") from None
        self._follow_options()
        if credential is None:
            raise _unauthenticated(f"there is no key; {HOW}")
        name = self._keys.name_of(credential)
        return await self._subject(credential) if name is None else name

    def admit(self, scope: Mapping[str, Any], route: Route | None) -> None:
        """Let a request go on to a route, or to a queue that has none.

        Raises:
            Problem: 403, the route is not for its caller; 429, the caller sends too many.
        """
        caller: str | None = scope.get(CALLER)
        patterns = None if route is None else route.auth
        if patterns is not None and not (caller and any(fnmatchcase(caller, each) for each in patterns)):
            raise Problem(HTTPStatus.FORBIDDEN, "forbidden", "this key may not call this route")
        if caller is None or self._rate is None:
            return
        wait = self._rates.take(caller, self._rate, anyio.current_time())
        if wait:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "rate",
                f"this key may send {self._options().rate_limit} requests; try again later",
                headers={"retry-after": str(math.ceil(wait))},
            )

    async def _subject(self, credential: Credential) -> str:
        if self._tokens is None:
            raise _unauthenticated(f"the key is not valid; {HOW}", "invalid_token")
        try:
            return await self._tokens.subject_of(credential.text)
        except ValueError as error:
            why = f"neither a valid key nor a valid token: {error}"
            raise _unauthenticated(why, "invalid_token") from None

    def _follow_options(self) -> None:
        if self._options() is not self._followed:
            self._follow(self._options())

    def _follow(self, options: GatewayOptions) -> None:
        self._keys = read_keys(options.api_keys)
        self._rate = None if options.rate_limit is None else Rate.read(options.rate_limit)
        about_tokens = (options.jwt_keys, options.jwt_issuer, options.jwt_audience, options.jwt_algorithm)
        if about_tokens != self._about_tokens:  # else the keys that were fetched would be fetched again
            self._tokens = tokens_of(*about_tokens)
            self._about_tokens = about_tokens
        self._followed = options


class Authenticated(HttpMiddleware):
    """Lets in only who shows a key or a token, where the gateway has any, and notes whose it is."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        super().__init__(app)
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, of a route that was given to the app, asks for a key as all else does."""
        if scope["type"] == "websocket" and self._access.is_on:
            try:
                scope = {**scope, CALLER: await self._access.caller_of(Headers(scope=scope))}
            except Problem:
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                return
        await super().__call__(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if not self._access.is_on or path.rstrip("/") in OPEN or path.startswith(OPEN_BELOW):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            caller = await self._access.caller_of(headers)
        except Problem as problem:
            response = failure(None, problem, scope, retry_after=1, is_lingering=True)
            if problem.status == HTTPStatus.UNAUTHORIZED and _is_browser(scope, headers):
                # The page can't be opened with a header, so that a browser has to ask for the key.
                # In a header of its own: browsers look at the first challenge of each alone.
                response.headers.append("www-authenticate", f'Basic {REALM}, charset="UTF-8"')
            await response(scope, receive, send)
            return
        await self.app({**scope, CALLER: caller}, receive, send)


def _is_browser(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def _unauthenticated(why: str, error: str | None = None) -> Problem:
    challenge = f"Bearer {REALM}" if error is None else f'Bearer {REALM}, error="{error}"'
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", why, headers={"www-authenticate": challenge})
