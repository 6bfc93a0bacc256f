"""The headers of replies about the batch that their requests were computed in."""

from __future__ import annotations

from collections.abc import Mapping

from rpcb_trio._messages import NO_HEADERS, Batch
from rpcb_trio._tracing import spans

LARGEST_NUMBER = 2**31 - 1
"""In a reply's headers; every client library reads numbers of 31 bits."""


def headers_of(batch: Batch, *, batch_headers: bool) -> list[Mapping[str, object]]:
    """The headers of its members' replies, in order; called in the task that computes it.

    `batch_headers` is the setting: whether they say in which batch it was.
    """
    shared = _span_of_batch()
    if not batch_headers:
        return [shared] * batch.size
    return [{**shared, **numbers_of(batch.id, batch.size, wait)} for wait in batch.waits]


def numbers_of(batch: int, size: int, wait: float) -> dict[str, object]:
    """Which batch it was, and what the request has waited: `wait` in seconds, its header in milliseconds.

    The id begins again at 0 after the largest number.
    """
    return {
        "rpcb-batch": batch & LARGEST_NUMBER,
        "rpcb-batch-size": size,
        "rpcb-wait": min(round(1e3 * wait), LARGEST_NUMBER),
    }


def _span_of_batch() -> Mapping[str, object]:
    """The headers that lead a reply's reader to the trace of its batch, where it is traced."""
    opentelemetry = spans()
    return NO_HEADERS if opentelemetry is None else opentelemetry.of_batch() or NO_HEADERS
