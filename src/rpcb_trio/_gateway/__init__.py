"""HTTP in front of services.

What is imported here needs none of the extra's libraries; `rpcb_trio.gateway` has the app.
"""

from rpcb_trio._gateway._credentials import hash_of, lines_of_keys, new_key, read_keys
from rpcb_trio._gateway._extensions import Envelope, file_of
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Field, Part, Route, Routes, Status, Tensor
from rpcb_trio._gateway._tables import check_routes, read_routes

__all__ = [
    "Envelope",
    "Field",
    "GatewayOptions",
    "Part",
    "Problem",
    "Route",
    "Routes",
    "Status",
    "Tensor",
    "check_routes",
    "file_of",
    "hash_of",
    "lines_of_keys",
    "new_key",
    "read_keys",
    "read_routes",
]
