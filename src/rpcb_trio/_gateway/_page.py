"""`/`: the page on which people try the routes and watch the batches; all of its files come from here."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as HttpRoute
from starlette.staticfiles import StaticFiles

from rpcb_trio._gateway._extensions import envelope_of, file_of
from rpcb_trio._gateway._forms import JSON
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._responses import INERT
from rpcb_trio._gateway._routes import Field, Routes

STATIC = Path(__file__).parent / "static"

WEB_FILES = (".js", ".css", ".svg", ".png", ".jpg", ".webp", ".woff2", ".wasm", ".json", ".wav", ".mp3")
"""Files that are served from the directory of a page module; its Python code, say, is not."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob:; media-src 'self' blob:; worker-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
"""The page loads nothing from other origins, and runs no inline script."""


class Files(StaticFiles):
    """Static files that browsers revalidate at each load, since they depend on one another."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        """As Starlette's, with headers."""
        response = super().file_response(*args, **more)
        response.headers.update({"cache-control": "no-cache", "x-content-type-options": "nosniff"})
        return response

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """As Starlette's; only files for the web are found."""
        return super().lookup_path(path) if path.endswith(WEB_FILES) else ("", None)


def page_of(name: str, headers: Mapping[str, str]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for one of our HTML files; its `{root}` is where the app is mounted."""
    markup = (STATIC / name).read_text("utf-8")

    async def page(request: Request) -> Response:
        root = escape(request.scope.get("root_path", ""))
        return HTMLResponse(markup.replace("{root}", root), headers=headers)

    return page


def page_paths(routes: Routes, options: GatewayOptions, *, is_live: bool) -> list[BaseRoute]:
    """The page, the description of the routes for it, and its files with those of page modules."""
    samples: list[Path] = []
    described = msgspec.json.encode(_described(routes, options, samples, is_live=is_live))
    modules = {
        each.page.partition(":")[0]: file_of("page", each.page) for each in routes.values() if each.page
    }
    devices = "(self)" if modules else "()"  # a page module may record; without one nothing does
    headers = {**HEADERS, "permissions-policy": f"camera={devices}, microphone={devices}"}

    async def description(_: Request) -> Response:
        return Response(described, headers={"cache-control": "no-cache"}, media_type=JSON)

    async def sample(request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(samples):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return FileResponse(samples[number], headers=INERT)

    return [
        HttpRoute("/", page_of("page.html", headers)),
        HttpRoute("/static/routes.json", description),
        HttpRoute("/static/samples/{number:int}/{name}", sample),
        *(
            Mount(f"/static/pages/{package}", Files(directory=file.parent))
            for package, file in modules.items()
        ),
        Mount("/static", Files(directory=STATIC)),
    ]


def _described(routes: Routes, options: GatewayOptions, samples: list[Path], *, is_live: bool) -> object:
    """What the page reads of the configuration, without where requests go; files to try go into `samples`."""
    return {
        "routes": [
            {
                "name": name,
                "path": route.path,
                "method": route.method,
                "summary": route.summary or name,
                "fields": [_field(each, field, samples) for each, field in route.form.items()],
                **_only_set(
                    envelope=getattr(envelope_of(route), "answer", ""),  # where it has the answer
                    page=f"static/pages/{route.page.replace(':', '/')}" if route.page else "",
                ),
            }
            for name, route in routes.items()
            if route.preset is None  # its requests are made by that API's own clients
        ],
        "rpc": [name for name, route in routes.items() if not route.parts],  # names that /rpc/NAME takes
        "rpc_any": bool(options.rpc),  # whether it takes others, too
        "live": is_live,
    }


def _field(name: str, field: Field, samples: list[Path]) -> dict[str, object]:
    sample = field.sample
    if sample and field.type == "file":
        samples.append(file_of("sample", sample))
        sample = f"static/samples/{len(samples) - 1}/{quote(samples[-1].name)}"
    more = _only_set(
        default=field.default, choices=field.choices, help=field.help, accept=field.accept, sample=sample
    )
    return {"name": name, "type": field.type, "required": field.is_required, **more}


def _only_set(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None and value not in ("", ())}
