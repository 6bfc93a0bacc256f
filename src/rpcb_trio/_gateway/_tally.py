"""What the live view keeps of one queue: its workers, its last batches, and what was in the last minute."""

from __future__ import annotations

from collections import deque

from rpcb_trio._events import AnyEvent, BatchEvent, StateEvent
from rpcb_trio._gateway._views import BatchView, Percentiles, QueueView, WorkerView
from rpcb_trio._instruments import Condition

SHOWN = 60
"""Batches that are shown one by one."""

RATE_OVER = 10.0
"""Seconds over which requests are counted for their rate."""

NUMBERS_OVER = 60.0
"""Seconds over which all else is summed up."""

MOST_REQUESTS = 2000
"""Requests, the newest, that percentiles are of; to sort them takes less than a millisecond."""

MOST_BATCHES = 1000
"""Batches, the newest, that numbers are of."""

SILENT_AFTER = 5.0
"""Seconds without a word from a worker; one that lives tells its state each second."""

GONE_AFTER = 30.0
"""Seconds until a silent worker is shown no longer."""

MOST_WORKERS = 64

Worker = tuple[str, str]
"""Its process and its name."""


class Tally:
    """Keeps what a queue's workers tell, within bounds. Times are monotonic, in seconds.

    Args:
        queue: its name.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._batches: deque[tuple[float, BatchEvent]] = deque(maxlen=MOST_BATCHES)
        self._states: dict[Worker, tuple[float, StateEvent]] = {}
        self._counts: deque[tuple[int, int]] = deque()
        """Seconds, and how many requests were answered in each."""
        self.queued: int | None = None
        """As `QueueView` has it; to be set."""

    def take(self, event: AnyEvent, now: float) -> None:
        """Take what a worker tells."""
        worker: Worker = (event.place, event.worker)
        if isinstance(event, BatchEvent):
            self._batches.append((now, event))
            self._count(event.size, int(now))
        elif worker in self._states or len(self._states) < MOST_WORKERS:
            self._states[worker] = (now, event)

    def is_over(self, now: float) -> bool:
        """Whether there is nothing left to show."""
        self._forget(now)
        return not self._states and not self._recent(now)

    def view(self, now: float) -> QueueView:
        """All of it, as it is now."""
        self._forget(now)
        recent = self._recent(now)
        waits, totals = _times(recent)
        return QueueView(
            queue=self._queue,
            waiting=sum(event.waiting for _, event in self._states.values()),
            queued=self.queued,
            rate=self._rate(now),
            failed=sum(event.failed for event in recent),
            mean_size=sum(event.size for event in recent) / len(recent) if recent else None,
            total=Percentiles.of(totals),
            wait=Percentiles.of(waits),
            service=Percentiles.of([event.service_ms for event in recent]),
            batches=[BatchView.of(event) for _, event in list(self._batches)[-SHOWN:]],
            workers=[
                WorkerView.of(event, silent=_is_silent(event, now - heard))
                for _, (heard, event) in sorted(self._states.items())
            ],
        )

    def _count(self, size: int, second: int) -> None:
        last, counted = self._counts.pop() if self._counts else (second, 0)
        if last != second:
            self._counts.append((last, counted))
            counted = 0
        self._counts.append((second, counted + size))

    def _rate(self, now: float) -> float:
        while self._counts and self._counts[0][0] <= now - RATE_OVER:
            self._counts.popleft()
        return sum(size for _, size in self._counts) / RATE_OVER

    def _recent(self, now: float) -> list[BatchEvent]:
        return [event for heard, event in self._batches if heard > now - NUMBERS_OVER]

    def _forget(self, now: float) -> None:
        for worker, (heard, event) in list(self._states.items()):
            if now - heard > (SILENT_AFTER if event.condition is Condition.STOPPED else GONE_AFTER):
                del self._states[worker]


def _is_silent(event: StateEvent, silence: float) -> bool:
    return silence > SILENT_AFTER and event.condition is not Condition.STOPPED


def _times(events: list[BatchEvent]) -> tuple[list[float], list[float]]:
    """Of the newest requests, how long they waited and how long they were there, in milliseconds."""
    waits: list[float] = []
    totals: list[float] = []
    for event in reversed(events):
        told = event.waits_ms * max(
            1, round(event.size / len(event.waits_ms))
        )  # of large batches, not all are
        waits += told
        totals += [wait + event.total_ms - event.wait_max_ms for wait in told]  # they all left together
        if len(waits) >= MOST_REQUESTS:
            break
    return waits, totals
