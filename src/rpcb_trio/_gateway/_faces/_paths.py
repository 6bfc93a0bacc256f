"""The paths that routes with presets are asked on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._endpoints import Endpoints, Handler
from rpcb_trio._gateway._faces._embeddings import embeddings
from rpcb_trio._gateway._faces._open_inference import SERVER, Model, described
from rpcb_trio._gateway._faces._open_inference import shaped as shaped_inference
from rpcb_trio._gateway._faces._openai import MODELS, models_paths
from rpcb_trio._gateway._faces._openai import shaped as shaped_openai
from rpcb_trio._gateway._faces._presets import PATHS, of_preset
from rpcb_trio._gateway._faces._signature import Signature, signatures_of
from rpcb_trio._gateway._faces._transcriptions import transcriptions
from rpcb_trio._gateway._forms import JSON
from rpcb_trio._gateway._middleware import HttpMiddleware
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import SHAPE, Shape, failure
from rpcb_trio._gateway._routes import Preset, Routes
from rpcb_trio._gateway._uploads import Upload

Answer = Callable[[Endpoints, Routes, Request, Upload], Awaitable[Response]]

ON_SHARED_PATHS: Mapping[Preset, Answer] = {
    "openai-transcriptions": transcriptions,
    "openai-embeddings": embeddings,
}
"""What answers on a path that all routes of one preset share."""

LONGEST_PATH = 200
"""Characters of a path that an error quotes."""


def face_paths(endpoints: Endpoints, routes: Routes, services: Mapping[str, Any]) -> list[BaseRoute]:
    """Those of all presets that routes have; none where none has any.

    Args:
        endpoints: through which they ask.
        routes: by their names.
        services: that are known here, by the names of their queues.
    """
    paths = models_paths(routes)
    for preset, answer in ON_SHARED_PATHS.items():
        if models := of_preset(routes, preset):
            paths += _posted(endpoints, PATHS[preset], partial(answer, endpoints, models))
    tensors = of_preset(routes, "open-inference")
    return paths + (_inference_paths(endpoints, tensors, signatures_of(tensors, services)) if tensors else [])


def _inference_paths(
    endpoints: Endpoints, routes: Routes, signatures: Mapping[str, Signature]
) -> list[BaseRoute]:
    dispatcher = endpoints.dispatcher
    paths: list[BaseRoute] = [
        _told("/v2", SERVER),
        _told("/v2/health/live", {"live": True}),
        _readiness("/v2/health/ready", dispatcher, {}),
    ]
    for name, route in routes.items():
        below = f"/v2/models/{name}"
        signature = signatures[name]
        infer = Model(endpoints, name, route, signature).infer
        paths += [
            _told(below, described(name, signature)),
            _readiness(f"{below}/ready", dispatcher, {"name": name}),
            *_posted(endpoints, route.path, infer),
        ]

    async def nowhere(request: Request) -> Response:
        path = request.url.path[:LONGEST_PATH]
        why = f"there is no {path} here; there is /v2/models/NAME, without a version, for {', '.join(routes)}"
        return failure(None, Problem(HTTPStatus.NOT_FOUND, "not-found", why), request)

    return [*paths, HttpRoute("/v2/{path:path}", nowhere, methods=["GET", "POST"])]


def _told(path: str, facts: Mapping[str, Any]) -> HttpRoute:
    body = msgspec.json.encode(facts)

    async def told(_: Request) -> Response:
        return Response(body, media_type=JSON)

    return HttpRoute(path, told)


def _readiness(path: str, dispatcher: Dispatcher, facts: Mapping[str, Any]) -> HttpRoute:
    async def ready(_: Request) -> Response:
        status = HTTPStatus.OK if dispatcher.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        body = msgspec.json.encode({**facts, "ready": dispatcher.is_ready})
        return Response(body, status, media_type=JSON)

    return HttpRoute(path, ready)


def _posted(endpoints: Endpoints, path: str, handle: Handler) -> list[HttpRoute]:
    endpoint = endpoints.handled(path, None, handle)
    return [HttpRoute(each, endpoint, methods=["POST"]) for each in (path, f"{path}/")]


class Shaped(HttpMiddleware):
    """Notes which shape problems have on the paths of presets: all problems, whoever finds them."""

    def __init__(self, app: ASGIApp, routes: Routes) -> None:
        super().__init__(app)
        self._shapes: dict[str, Shape] = {}
        for each in routes.values():
            if each.preset == "open-inference":
                self._shapes["/v2"] = shaped_inference
            elif each.preset is not None:
                self._shapes |= dict.fromkeys((each.path, MODELS), shaped_openai)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        for start, shape in self._shapes.items():
            if path == start or path.startswith(f"{start}/"):
                scope = {**scope, SHAPE: shape}
        await self.app(scope, receive, send)
