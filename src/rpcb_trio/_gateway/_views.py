"""What the live view sends to browsers: frozen values, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import msgspec

from rpcb_trio._events import BatchEvent, StateEvent, percentile


class Percentiles(msgspec.Struct, frozen=True):
    """In milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[tuple[float, float]]) -> Self | None:
        """Of values with how many times each counts; None of nothing."""
        ordered = sorted(values)
        p50, p95, p99 = (percentile(ordered, percent) for percent in (50, 95, 99))
        if p50 is None or p95 is None or p99 is None:
            return None
        return cls(round(p50, 3), round(p95, 3), round(p99, 3))


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of the chart."""

    size: int
    trigger: str
    wait_ms: float
    """The longest in it."""
    service_ms: float
    total_ms: float
    failed: int

    @classmethod
    def of(cls, event: BatchEvent) -> Self:
        """As its worker told it."""
        return cls(
            size=event.size,
            trigger=event.trigger,
            wait_ms=event.wait_max_ms,
            service_ms=event.service_ms,
            total_ms=event.total_ms,
            failed=event.failed,
        )


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """One worker."""

    worker: str
    place: str
    condition: str
    reason: str | None
    silent: bool
    """Whether it has told nothing for longer than a worker that lives."""
    device: str | None
    answered: int
    failed: int
    max_batch_size: int
    rss: int | None
    dropped: int

    @classmethod
    def of(cls, event: StateEvent, *, silent: bool) -> Self:
        """As it told last."""
        return cls(
            worker=event.worker,
            place=event.place,
            condition=event.condition,
            reason=event.reason,
            silent=silent,
            device=event.device,
            answered=event.answered,
            failed=event.failed,
            max_batch_size=event.max_batch_size,
            rss=event.rss,
            dropped=event.dropped,
        )


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """One queue. Numbers are of the last minute, but for the rate."""

    queue: str
    waiting: int
    """Requests that wait in its workers for a batch, by their last states; as batches end it would be few."""
    queued: int | None
    """Requests that lie in it at the broker; None where that can't be known."""
    rate: float
    """Requests per second, over some seconds, by the workers' counters."""
    failed: int
    """Likewise by their counters."""
    mean_size: float | None
    total: Percentiles | None
    """Of a request's time in the worker, from its arrival until its reply was settled."""
    wait: Percentiles | None
    service: Percentiles | None
    batches: list[BatchView]
    """The last ones, the newest last."""
    workers: list[WorkerView]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All that a browser shows at a time."""

    connected: bool
    """Whether events would come."""
    queues: list[QueueView]
