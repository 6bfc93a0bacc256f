"""The times of a batch's requests, of which a large batch tells some: each with how many it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rpcb_trio._events._events import BatchEvent


class RequestTimes(NamedTuple):
    """Of some requests, in milliseconds."""

    wait: float
    """From the arrival until the batch was closed."""
    total: float
    """From the arrival until they were settled."""
    requests: float
    """How many."""


def request_times(batch: BatchEvent) -> Iterator[RequestTimes]:
    """Of a batch's requests, which were all settled together."""
    waits = batch.waits_ms or (batch.wait_mean_ms,)
    for wait in waits:
        yield RequestTimes(wait, batch.total_ms - batch.wait_max_ms + wait, batch.size / len(waits))


def percentile(ordered: Sequence[tuple[float, float]], percent: float) -> float | None:
    """The value that so many percent of the weight are not above; of ordered values, each with its weight."""
    rank, below = percent / 100 * sum(weight for _, weight in ordered), 0.0
    for value, weight in ordered:
        below += weight
        if below >= rank:
            return value
    return ordered[-1][0] if ordered else None
