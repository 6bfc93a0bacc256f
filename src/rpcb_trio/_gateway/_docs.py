"""`/docs`: Swagger UI, from the files of the package swagger-ui-py; nothing comes from elsewhere."""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from rpcb_trio._errors import SettingError
from rpcb_trio._gateway._openapi import openapi
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._responses import JSON
from rpcb_trio._gateway._routes import Routes

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>rpcb-trio gateway</title>
<link rel="icon" href="{root}/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
</head>
<body>
<main id="swagger-ui" data-url="{root}/openapi.json"></main>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</body>
</html>
"""

START = """const main = document.getElementById("swagger-ui");
SwaggerUIBundle({url: main.dataset.url, domNode: main, deepLinking: true, validatorUrl: null});
"""

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from anywhere else."""


FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
"""Of Swagger UI's; the others that the package has are nobody's business."""


def docs_routes(routes: Routes, options: GatewayOptions) -> list[BaseRoute]:
    """The document, and the page that shows it."""
    document = msgspec.json.encode(openapi(routes, options))

    async def described(_: Request) -> Response:
        return Response(document, media_type=JSON)

    async def page(request: Request) -> Response:
        root = escape(request.scope.get("root_path", ""))
        return HTMLResponse(PAGE.format(root=root), headers={"content-security-policy": POLICY})

    async def start(_: Request) -> Response:
        return Response(START, media_type="text/javascript")

    return [
        Route("/openapi.json", described),
        Route("/docs", page),
        Route("/docs/", page),
        Route("/docs/start.js", start),
        *(_file(_swagger_ui() / name) for name in FILES),
    ]


def _file(path: Path) -> Route:
    async def file(_: Request) -> Response:
        return FileResponse(path)

    return Route(f"/docs/{path.name}", file)


def _swagger_ui() -> Path:
    """Where its files are; the package itself is not imported.

    Raises:
        SettingError: nowhere.
    """
    found = find_spec("swagger_ui")
    if found is None or found.origin is None:
        raise SettingError(
            "the gateway needs swagger-ui-py; install it with pip install 'rpcb-trio[gateway]'"
        )
    return Path(found.origin).parent / "static"
