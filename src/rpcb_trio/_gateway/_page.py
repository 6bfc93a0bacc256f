"""`/`: the page on which people try the routes and watch the batches; plain files, from here alone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as Served
from starlette.staticfiles import StaticFiles

from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._responses import JSON
from rpcb_trio._gateway._routes import Field, Plain, Route, Routes

STATIC = Path(__file__).parent / "static"

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob:; media-src 'self' blob:; worker-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "permissions-policy": "microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
"""The page loads nothing from anywhere else, and runs no script but its own."""


class ShownField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field of a form, as the page needs it."""

    name: str
    type: str
    required: bool = False
    default: Plain | None = None
    choices: tuple[str, ...] = ()
    help: str = ""
    accept: str = ""
    """Of a file, as HTML's `accept` has it."""


class ShownRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route, as the page needs it."""

    name: str
    path: str
    method: str
    summary: str
    envelope: bool
    fields: tuple[ShownField, ...]
    """None of them: the body is sent as it is."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to try, and whether there is something to watch."""

    routes: tuple[ShownRoute, ...]
    rpc: tuple[str, ...]
    """Names that `/rpc/NAME` takes."""
    rpc_any: bool
    """Whether it takes others too."""
    live: bool


class Files(StaticFiles):
    """The page's own; a browser asks each time whether they are still the same, for they go together."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        """As Starlette's, with headers."""
        response = super().file_response(*args, **more)
        response.headers.update({"cache-control": "no-cache", "x-content-type-options": "nosniff"})
        return response


def page_routes(routes: Routes, options: GatewayOptions, *, is_live: bool) -> list[BaseRoute]:
    """The page, what it is to show, and its files."""
    markup = (STATIC / "page.html").read_text("utf-8")
    described = msgspec.json.encode(shown(routes, options, is_live=is_live))

    async def page(request: Request) -> Response:
        root = escape(request.scope.get("root_path", ""))
        return HTMLResponse(markup.replace("{root}", root), headers=HEADERS)

    async def description(_: Request) -> Response:
        return Response(described, headers={"cache-control": "no-cache"}, media_type=JSON)

    return [
        Served("/", page),
        Served("/static/routes.json", description),
        Mount("/static", Files(directory=STATIC)),
    ]


def shown(routes: Routes, options: GatewayOptions, *, is_live: bool) -> Shown:
    """What the page shows of the configuration; where the requests go is nobody's business there."""
    return Shown(
        routes=tuple(_shown_route(name, route) for name, route in routes.items()),
        rpc=tuple(name for name, route in routes.items() if not route.parts),
        rpc_any=bool(options.rpc),
        live=is_live,
    )


def _shown_route(name: str, route: Route) -> ShownRoute:
    return ShownRoute(
        name=name,
        path=route.path,
        method=route.method,
        summary=route.summary or name,
        envelope=route.shape == "envelope",
        fields=tuple(_shown_field(each, field, route) for each, field in route.form.items()),
    )


def _shown_field(name: str, field: Field, route: Route) -> ShownField:
    is_sound = "audio" in name or route.media_type.startswith("audio/")
    return ShownField(
        name=name,
        type=field.type,
        required=field.is_required,
        default=field.default,
        choices=field.choices,
        help=field.help,
        accept=field.accept or ("audio/*" if field.type == "file" and is_sound else ""),
    )
