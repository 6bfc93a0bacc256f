"""The gateway's own paths: probes, and the files that a `url` leads to."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from rpcb_trio._gateway._front import Front
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._request_ids import request_id_of
from rpcb_trio._gateway._responses import INERT, JSON, failure
from rpcb_trio._gateway._store import Store

CACHED = "private, max-age=3600"
"""How a file may be: under its name there is never another."""


def own_paths(front: Front, store: Store) -> list[BaseRoute]:
    """Their routes."""

    async def livez(_: Request) -> Response:
        return _told(HTTPStatus.OK, {"live": True})

    async def readyz(_: Request) -> Response:
        status = HTTPStatus.OK if front.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        facts = {
            "ready": front.is_ready,
            "draining": front.is_draining,
            "in_flight": front.in_flight,
            "unsent_bytes": front.unsent.held,
            "answers_cut": front.unsent.cut,
        }
        return _told(status, facts)

    async def file(request: Request) -> Response:
        found = await store.find(request.path_params["name"])
        if found is None:
            problem = Problem(HTTPStatus.NOT_FOUND, "not-found", "there is no such file, or no longer")
            return failure(None, problem, request_id=request_id_of(request), retry_after=0)
        headers = {**INERT, "cache-control": CACHED, "content-length": str(found.size)}
        return StreamingResponse(found.pieces, headers=headers, media_type=found.media_type)

    return [
        *(Route(path, livez) for path in ("/livez", "/livez/")),
        *(Route(path, readyz) for path in ("/readyz", "/readyz/")),
        Route("/files/{name}", file),
    ]


def _told(status: HTTPStatus, facts: object) -> Response:
    return Response(msgspec.json.encode(facts), status, {"cache-control": "no-store"}, JSON)
