"""How one request is followed: by its ids, and by OpenTelemetry's spans.

OpenTelemetry is used where the process has loaded it, and never loaded: whoever sets up an SDK has.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from rpcb_trio._tracing._ids import (
    ACCEPTABLE_ID,
    RequestIds,
    context_in,
    ids_of,
    request_id_in,
    trace_id_in,
)
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from rpcb_trio._tracing._processing import Processing
    from rpcb_trio._tracing._spans import Spans

__all__ = [
    "ACCEPTABLE_ID",
    "Processing",
    "RequestIds",
    "context_in",
    "ids_of",
    "loaded_spans",
    "request_id_in",
    "spans",
    "spans_of_calls",
    "trace_id_in",
]


def spans() -> Spans | None:
    """OpenTelemetry's spans; None where nobody has loaded it, so that nobody can have set it up."""
    return _opentelemetry() if "opentelemetry.trace" in sys.modules else None


def spans_of_calls() -> Spans | None:
    """As `spans`; None, too, where there is nothing to record of a call, or to pass on with it."""
    found = spans()
    return found if found is not None and found.calls_matter() else None


def loaded_spans() -> Spans:
    """OpenTelemetry's spans, for whoever asks for them by name.

    Raises:
        SettingError: its API is not installed.
    """
    try:
        return _opentelemetry()
    except ImportError as error:
        raise SettingError(
            "tracing needs opentelemetry-api; install it with pip install 'rpcb-trio[tracing]'"
        ) from error


@cache
def _opentelemetry() -> Spans:
    from rpcb_trio._tracing._spans import Spans  # noqa: PLC0415 - see above

    return Spans()
