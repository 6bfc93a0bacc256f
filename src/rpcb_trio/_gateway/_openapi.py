"""The routes as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import metadata
from typing import Any

from rpcb_trio._gateway._extensions import envelope_of
from rpcb_trio._gateway._faces._operations import operations
from rpcb_trio._gateway._forms import JSON, URLENCODED
from rpcb_trio._gateway._job_paths import job_paths
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._routes import Field, Route, Routes
from rpcb_trio._gateway._server_sent import EVENT_STREAM, STREAM
from rpcb_trio._gateway._typed_bodies import ERROR, Bodies, TypedBodies, content

Schema = dict[str, Any]

TYPES: Mapping[str, Schema] = {
    "file": {"type": "string", "format": "binary"},
    "text": {"type": "string"},
    "integer": {"type": "integer", "format": "int64"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
}

BYTES: Schema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

EVENTS: Schema = {EVENT_STREAM: {}}
"""Any service answers so whoever asks for it: one that does not stream with a single part."""

ASKING: Schema = {
    "name": STREAM,
    "in": "query",
    "description": "Whether the answer comes in parts, as server-sent events; true, too, where these are "
    "accepted and it is not said.",
    "schema": {"type": "boolean"},
}

PROBLEM: Schema = {
    "type": "object",
    "required": ["title", "status", "error", "detail", "request_id"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "error": {"type": "string", "description": "One word for what is wrong."},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "The form's field that is wrong."},
        "reply": {"description": "What the service itself said."},
        "request_id": {"type": "string"},
    },
}

PROBLEM_CONTENT: Schema = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

PROBLEMS = {
    400: "The request makes no sense.",
    403: "Pages of that origin may not call.",
    408: "The upload took too long.",
    413: "The upload is too large.",
    415: "The route does not take a form of this content type.",
    421: "The gateway has no such host name.",
    422: "A field of the form is wrong, or the service could not read it.",
    500: "The service failed.",
    502: "No queue is there, or the reply makes no sense.",
    503: "Too many requests are in flight, or there is no connection to the broker; try again later.",
    504: "No reply came in time.",
    507: "There is no room for the answer's file.",
}


REFUSALS = {
    "401": "There is no key or token, or it is not valid.",
    "403": "This key, or pages of that origin, may not call.",
    "429": "This key sends too many requests; try again later.",
}
"""Where callers show a key or a token."""

SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic"},
}
"""The ways to show it."""

FILE: Schema = {
    "operationId": "file",
    "summary": "A file that a URL in an answer leads to, for as long as it is kept.",
    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
    "responses": {
        "200": {"description": "The file.", "content": {"*/*": {}}},
        "404": {"description": "There is no such file, or no longer.", "content": PROBLEM_CONTENT},
    },
}


def openapi(routes: Routes, options: GatewayOptions, bodies: Bodies) -> Schema:
    """The document, of OpenAPI 3.1; `bodies` are those of typed services."""
    paths: Schema = {}
    for name, route in routes.items():
        if route.preset is None:
            paths[route.path] = {route.method.lower(): _operation(name, route, routes, bodies)}
    paths |= operations(routes)
    for name, typed in bodies.items():
        paths[f"/rpc/{name}"] = {"post": _typed(name, typed)}
    names = [name for name, route in routes.items() if not route.parts]
    if names or options.rpc:
        paths["/rpc/{name}"] = {"post": _rpc(names, options)}
    if options.jobs is not None:
        paths |= job_paths(names)
    if any(route.urls for route in routes.values()):
        paths["/files/{name}"] = {"get": FILE}
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": "rpcb-trio gateway", "version": metadata.version("rpcb-trio")},
        "paths": paths,
        "components": {"schemas": _components(bodies)},
    }
    return _secured(document) if options.has_callers else document


def _secured(document: Schema) -> Schema:
    """The document, with how callers show who they are, and what becomes of those that don't."""
    document["components"]["securitySchemes"] = SCHEMES
    document["security"] = [{name: []} for name in SCHEMES]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if path.startswith("/files/"):
                operation["security"] = []
                continue
            for status, description in REFUSALS.items():
                operation["responses"][status] = {"description": description}
    return document


def _components(bodies: Bodies) -> Schema:
    found = {"Problem": PROBLEM, **({"Error": ERROR} if bodies else {})}
    for typed in bodies.values():
        found |= typed.components
    return found


def _operation(name: str, route: Route, routes: Routes, bodies: Bodies) -> Schema:
    typed = None if route.form or route.parts else bodies.get(route.queue or "")
    if typed is not None:
        return {**_typed(name, typed), "summary": route.summary or name}
    return {
        "operationId": name,
        "summary": route.summary or name,
        **({} if route.parts or STREAM in route.form else {"parameters": [ASKING]}),
        "requestBody": {"required": True, "content": _form(route) if route.form else BYTES},
        "responses": _responses(route, _answer(route), _named_statuses(route, routes)),
    }


def _form(route: Route) -> Schema:
    properties = {field: _property(spec) for field, spec in route.form.items()}
    required = [field for field, spec in route.form.items() if spec.is_required]
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    ways: Schema = {"multipart/form-data": {"schema": schema}}
    if not any(field.type == "file" for field in route.form.values()):
        ways |= {URLENCODED: {"schema": schema}, JSON: {"schema": schema}}
    return ways


def _property(field: Field) -> Schema:
    schema = dict(TYPES[field.type])
    if field.choices:
        schema["enum"] = list(field.choices)
    if field.default is not None:
        schema["default"] = field.default
    if field.help:
        schema["description"] = field.help
    return schema


def _answer(route: Route) -> Schema:
    envelope = envelope_of(route)
    if envelope is not None:
        return {"application/json": {"schema": dict(envelope.schema)}}
    if route.parts:
        properties: Schema = {part: {} for part in route.parts}
        return {"application/json": {"schema": {"type": "object", "properties": properties}}}
    return BYTES if route.reply_coding == "bytes" else {"application/json": {"schema": {}}}


def _named_statuses(route: Route, routes: Routes) -> set[int]:
    """HTTP statuses that `status.http` names: of the route, or of its parts where all of them fail."""
    services = [routes[part.route] for part in route.parts.values()] or [route]
    return {status for each in services if each.status is not None for status in each.status.http.values()}


def _responses(route: Route, answer: Schema, named: Collection[int]) -> Schema:
    in_parts = {} if route.parts else EVENTS
    if route.envelope:
        said = "The answer; or a failure, if the envelope says so."
        return {
            "200": {"description": said, "content": answer | in_parts},
            "default": {"description": "A failure.", "content": answer},
        }
    responses: Schema = {"200": {"description": "The answer.", "content": answer | in_parts}}
    for status in sorted({*PROBLEMS, *named}):
        description = PROBLEMS.get(status, "The service says so.")
        responses[str(status)] = {"description": description, "content": PROBLEM_CONTENT}
    return responses


def _typed(name: str, typed: TypedBodies) -> Schema:
    """An operation of a typed service: its own bodies go in and out, error replies too."""
    responses = _responses(Route(), typed.reply or {"*/*": {}}, ())
    errors = content({"$ref": "#/components/schemas/Error"}) | PROBLEM_CONTENT
    for status, response in responses.items():
        if status != "200":
            response["content"] = errors
    return {
        "operationId": f"rpc-{name}",
        "summary": name,
        "parameters": [ASKING],
        "requestBody": {"required": True, "content": typed.request or BYTES},
        "responses": responses,
    }


def _rpc(names: list[str], options: GatewayOptions) -> Schema:
    schema: Schema = {"type": "string"}
    if not options.rpc:
        schema["enum"] = names
    responses = _responses(Route(), {"*/*": {}}, ())
    for status, response in responses.items():
        if status != "200":  # error replies come in the service's own shape
            response["content"] = {"*/*": {}}
    responses["404"] = {"description": "There is no such service."}
    return {
        "operationId": "rpc",
        "summary": "Bytes in, bytes out: the request's and the reply's body as they are.",
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": schema}, ASKING],
        "requestBody": {"required": False, "content": BYTES},
        "responses": responses,
    }
