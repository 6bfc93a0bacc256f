"""How one request is followed: by its ids."""

from rpcb_trio._tracing._ids import (
    ACCEPTABLE_ID,
    RequestIds,
    context_in,
    ids_of,
    request_id_in,
    trace_id_in,
)

__all__ = ["ACCEPTABLE_ID", "RequestIds", "context_in", "ids_of", "request_id_in", "trace_id_in"]
