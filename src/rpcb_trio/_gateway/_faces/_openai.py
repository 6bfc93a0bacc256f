"""What all of OpenAI's paths share: how failures look, which models there are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as HttpRoute

from rpcb_trio._gateway._faces._presets import OPENAI, of_preset
from rpcb_trio._gateway._forms import JSON
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import failure
from rpcb_trio._gateway._routes import Routes
from rpcb_trio._shown import LONGEST_SHOWN, shortened
from rpcb_trio.errors import CallInterrupted

MODELS = "/v1/models"

OWNER = "rpcb-trio"
"""Who owns all models."""

NO_BROKER = ("no-broker", CallInterrupted.code)
"""Codes of a 503 that no other pace of the client would have spared it."""

LONGEST_NAME = 100
"""Characters of a model's name that an error quotes."""

UNKNOWN_MODEL = "model_not_found"
"""The code of OpenAI's own error."""

T = TypeVar("T")


def shaped(problem: Problem) -> tuple[int, bytes]:
    """A problem's status and body, as OpenAI's clients read them."""
    return _status_of(problem), msgspec.json.encode({"error": described(problem)})


def described(problem: Problem) -> dict[str, object]:
    """The problem as OpenAI has it."""
    status = _status_of(problem)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    else:
        kind = "invalid_request_error"
    return {"message": problem.detail, "type": kind, "param": problem.field, "code": problem.code}


def _status_of(problem: Problem) -> int:
    """What is overloaded is 429 to these clients, and they send it again after `retry-after`."""
    is_full = problem.status == HTTPStatus.SERVICE_UNAVAILABLE and problem.code not in NO_BROKER
    return HTTPStatus.TOO_MANY_REQUESTS if is_full else problem.status


def invalid(field: str, why: str) -> Problem:
    """400: one of the request's parameters is wrong."""
    why = shortened(why, LONGEST_SHOWN)  # it may quote a value
    return Problem(HTTPStatus.BAD_REQUEST, "invalid_value", f"{field}: {why}", field=field)


def model_of(models: Mapping[str, T], name: str) -> T:
    """What there is of a model: its route, say.

    Raises:
        Problem: 404, there is no such model.
    """
    if name not in models:
        why = f"there is no model {name[:LONGEST_NAME]!r} here; there is {', '.join(models)}"
        raise Problem(HTTPStatus.NOT_FOUND, UNKNOWN_MODEL, why, field="model")
    return models[name]


def models_paths(routes: Routes) -> list[BaseRoute]:
    """`/v1/models`, and what is below it; none where no route is one of OpenAI's."""
    since = int(time.time())
    models = {
        name: {"id": name, "object": "model", "created": since, "owned_by": OWNER}
        for name in of_preset(routes, *OPENAI)
    }

    async def every(_: Request) -> Response:
        return _json({"object": "list", "data": list(models.values())})

    async def one(request: Request) -> Response:
        try:
            return _json(model_of(models, request.path_params["name"]))
        except Problem as problem:
            return failure(None, problem, request)

    if not models:
        return []
    return [
        *(HttpRoute(path, every) for path in (MODELS, f"{MODELS}/")),
        HttpRoute(f"{MODELS}/{{name:path}}", one),
    ]


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)
