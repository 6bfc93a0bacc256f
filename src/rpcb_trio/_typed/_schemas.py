"""What the annotations of a service say of its bodies, as JSON Schema."""

from __future__ import annotations

from typing import Any, NamedTuple


class Schemas(NamedTuple):
    """JSON Schema of the requests and replies of a service; None for bytes as they are."""

    request: dict[str, Any] | None
    reply: dict[str, Any] | None
    components: dict[str, dict[str, Any]]
    """What the others refer to, by name."""
