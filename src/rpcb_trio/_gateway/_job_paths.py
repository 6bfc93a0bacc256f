"""`/jobs` in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rpcb_trio._gateway._server_sent import EVENT_STREAM

Schema = dict[str, Any]

PROBLEM: Schema = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
JOB_SCHEMA: Schema = {
    "type": "object",
    "required": ["id", "name", "status", "created", "expires", "url", "events_url"],
    "properties": {
        "id": {"type": "string", "description": "A secret: whoever has it gets the reply."},
        "name": {"type": "string"},
        "status": {"type": "string", "enum": ["queued", "done", "failed"]},
        "created": {"type": "string", "format": "date-time"},
        "expires": {"type": "string", "format": "date-time"},
        "finished": {"type": "string", "format": "date-time"},
        "url": {"type": "string"},
        "events_url": {"type": "string"},
        "result_url": {"type": "string"},
        "result": {"description": "The answer, where it is short JSON."},
        "problem": {"$ref": "#/components/schemas/Problem"},
    },
}

JOB: Schema = {"application/json": {"schema": JOB_SCHEMA}}

REFUSALS = {
    400: "The request makes no sense, or the callback may not be told.",
    403: "Pages of that origin may not call.",
    404: "There is no such service.",
    408: "The upload took too long.",
    413: "The upload is too large.",
    415: "The route does not take a form of this content type.",
    421: "The gateway has no such host name.",
    422: "A field of the form is wrong.",
    429: "Too many jobs wait for their replies; try again later.",
    502: "No queue is there.",
    503: "Too many requests are in flight, or there is no connection to the broker; try again later.",
    504: "The broker did not store the request in time.",
    507: "There is no room for jobs.",
}


def job_paths(names: Sequence[str]) -> Schema:
    """The paths under `/jobs`; `names` are those of services that have a route."""
    about = "; ".join(f"{name}: as {name} itself takes it" for name in names)
    return {
        "/jobs/{name}": {
            "post": {
                "operationId": "submit_job",
                "summary": "Submit a job: the body is that of the service's own path.",
                "parameters": [
                    _in_path("name", about),
                    {"name": "rpcb-callback-url", "in": "header", "schema": {"type": "string"}},
                ],
                "requestBody": {"required": False, "content": {"*/*": {}}},
                "responses": {
                    "202": {"description": "It is queued.", "content": JOB},
                    **{str(status): _problem(why) for status, why in REFUSALS.items()},
                },
            }
        },
        "/jobs/{id}": {
            "get": _asking("job", "What is known of a job.", {"description": "So far.", "content": JOB}),
            "delete": {
                **_asking("delete_job", "Delete a job and its reply.", {"description": "It is gone."}, 204),
            },
        },
        "/jobs/{id}/result": {
            "get": {
                **_asking("job_result", "The response that the service's own path would have given.", {}),
                "responses": {"default": {"description": "That response.", "content": {"*/*": {}}}},
            }
        },
        "/jobs/{id}/events": {
            "get": _asking(
                "job_events",
                "Server-sent events, until the job is done.",
                {"description": "The events.", "content": {EVENT_STREAM: {}}},
            )
        },
    }


def _asking(operation: str, summary: str, found: Schema, status: int = 200) -> Schema:
    refusals = {
        403: "Pages of that origin may not call.",
        404: "There is no such job, or it was deleted.",
        410: "Its time is over.",
        421: "The gateway has no such host name.",
        503: "It can't be read; try again later.",
    }
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [_in_path("id", "Of the job.")],
        "responses": {
            str(status): found,
            **{str(each): _problem(why) for each, why in refusals.items()},
        },
    }


def _in_path(name: str, about: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": about,
        "schema": {"type": "string"},
    }


def _problem(why: str) -> Schema:
    return {"description": why, "content": PROBLEM}
