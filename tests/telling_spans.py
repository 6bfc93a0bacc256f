"""A service that tells which span is the current one; it imports little, for processes of its own."""

from __future__ import annotations

import json
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.trace import format_span_id, format_trace_id


def tell_span(bodies: list[bytes]) -> list[bytes]:
    """Answers each body with the ids of the current span."""
    current = trace.get_current_span().get_span_context()
    ids = [format_trace_id(current.trace_id), format_span_id(current.span_id)]
    return [json.dumps(ids).encode() for _ in bodies]


def telling() -> Callable[[list[bytes]], list[bytes]]:
    return tell_span
