"""The gateway's own paths: probes, files that a URL in an answer leads to, and `/docs`."""

from __future__ import annotations

from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute
from starlette.routing import Route as HttpRoute

from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._forms import JSON
from rpcb_trio._gateway._openapi import openapi
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._page import page_of
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import INERT, failure
from rpcb_trio._gateway._routes import Routes
from rpcb_trio._gateway._store import Store
from rpcb_trio._gateway._typed_bodies import Bodies
from rpcb_trio._gateway._unsent import Unsent
from rpcb_trio.errors import SettingError

DOCS_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)
"""`/docs` loads nothing from other origins."""

SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")
"""The files of the package swagger-ui-py that are served."""

CACHED = "private, max-age=3600"
"""For kept files: the content under a name never changes."""


def own_paths(dispatcher: Dispatcher, unsent: Unsent, store: Store) -> list[BaseRoute]:
    """`/livez`, `/readyz` and `/files/NAME`."""

    async def livez(_: Request) -> Response:
        return _json(HTTPStatus.OK, {"live": True})

    async def readyz(_: Request) -> Response:
        facts = {
            "ready": dispatcher.is_ready,
            "draining": dispatcher.is_draining,
            "in_flight": dispatcher.in_flight,
            "unsent_bytes": unsent.held,
            "answers_cut": unsent.cut,
        }
        return _json(HTTPStatus.OK if dispatcher.is_ready else HTTPStatus.SERVICE_UNAVAILABLE, facts)

    async def file(request: Request) -> Response:
        found = await store.find(request.path_params["name"])
        if found is None:
            problem = Problem(HTTPStatus.NOT_FOUND, "not-found", "there is no such file, or no longer")
            return failure(None, problem, request)
        headers = {**INERT, "cache-control": CACHED, "content-length": str(found.size)}
        return StreamingResponse(found.pieces, headers=headers, media_type=found.media_type)

    return [
        *(HttpRoute(path, livez) for path in ("/livez", "/livez/")),
        *(HttpRoute(path, readyz) for path in ("/readyz", "/readyz/")),
        HttpRoute("/files/{name}", file),
    ]


def docs_paths(routes: Routes, options: GatewayOptions, bodies: Bodies) -> list[BaseRoute]:
    """`/openapi.json`, and Swagger UI at `/docs`.

    Raises:
        SettingError: the package swagger-ui-py is not installed.
    """
    document = msgspec.json.encode(openapi(routes, options, bodies))

    async def openapi_json(_: Request) -> Response:
        return Response(document, media_type=JSON)

    page = page_of("docs.html", {"content-security-policy": DOCS_POLICY})
    return [
        HttpRoute("/openapi.json", openapi_json),
        *(HttpRoute(path, page) for path in ("/docs", "/docs/")),
        *(_file(_swagger_ui() / name) for name in SWAGGER_UI),
    ]


def _file(path: Path) -> HttpRoute:
    async def file(_: Request) -> Response:
        return FileResponse(path)

    return HttpRoute(f"/docs/{path.name}", file)


def _swagger_ui() -> Path:
    """The directory of Swagger UI's files; the package itself is not imported."""
    found = find_spec("swagger_ui")
    if found is None or found.origin is None:
        raise SettingError(
            "the gateway needs swagger-ui-py; install it with pip install 'rpcb-trio[gateway]'"
        )
    return Path(found.origin).parent / "static"


def _json(status: HTTPStatus, facts: object) -> Response:
    return Response(msgspec.json.encode(facts), status, {"cache-control": "no-store"}, JSON)
