"""HTTP in front of services: an ASGI app, and a server for it. Needs `rpcb-trio[gateway]`.

make_app("amqp://localhost", {"echo": Route(queue="echo")}) answers POST /echo and POST /rpc/echo.
"""

from rpcb_trio._gateway import (
    Envelope,
    Field,
    GatewayOptions,
    Part,
    Problem,
    Route,
    Status,
    Tensor,
    check_routes,
    read_routes,
)
from rpcb_trio._public import publish

try:
    from rpcb_trio._gateway._app import make_app
    from rpcb_trio._gateway._server import serve_app
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"the gateway needs {_error.name}; install it with pip install 'rpcb-trio[gateway]'", name=_error.name
    ) from _error

__all__ = [
    "Envelope",
    "Field",
    "GatewayOptions",
    "Part",
    "Problem",
    "Route",
    "Status",
    "Tensor",
    "check_routes",
    "make_app",
    "read_routes",
    "serve_app",
]

publish(__name__)
