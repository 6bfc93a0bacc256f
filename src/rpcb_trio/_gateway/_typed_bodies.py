"""What typed services take and return, for the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rpcb_trio._service import bind_again
from rpcb_trio._typed import MSGPACK

JSON = "application/json"

Schema = dict[str, Any]

ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "One word for what is wrong."},
                "message": {"type": "string"},
                "path": {"type": "string", "description": "To the value that is wrong, as `$.text`."},
            },
        }
    },
}
"""The error replies of typed services."""


class TypedBodies(NamedTuple):
    """Of one service; a side that is not typed is None."""

    request: Schema | None
    reply: Schema | None
    components: Mapping[str, Schema]


Bodies = Mapping[str, TypedBodies]
"""By the names of the queues."""


def typed_bodies(services: Mapping[str, Any]) -> Bodies:
    """Those of the services that are typed."""
    found = dict[str, TypedBodies]()
    for name, service in services.items():
        typed = bind_again(service).typed
        if typed is None or not typed.writes:
            continue
        prefix = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        schemas = typed.schemas(f"#/components/schemas/{prefix}.{{name}}")
        found[name] = TypedBodies(
            None if schemas.request is None else content(schemas.request),
            None if schemas.reply is None else content(schemas.reply),
            {f"{prefix}.{each}": schema for each, schema in schemas.components.items()},
        )
    return found


def content(schema: Schema) -> Schema:
    """Bodies of that schema, in both codings."""
    return {JSON: {"schema": schema}, MSGPACK: {"schema": schema}}
