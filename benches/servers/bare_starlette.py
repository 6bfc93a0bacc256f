"""What HTTP alone costs: Starlette on hypercorn's trio worker, which answers each body with itself."""

from __future__ import annotations

import sys
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


def main(port: str) -> None:
    """Serve on a port until a signal comes."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    app = Starlette(routes=[Route("/echo", echo, methods=["POST"])])
    trio.run(serve, cast("ASGIFramework", app), config)


if __name__ == "__main__":
    main(sys.argv[1])
