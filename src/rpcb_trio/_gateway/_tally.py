"""What the live view keeps of one queue: its workers, its last batches, and what was in the last minute."""

from __future__ import annotations

from collections import deque
from itertools import islice

from rpcb_trio._events import SILENT_AFTER, AnyEvent, BatchEvent, Counters, StateEvent, request_times
from rpcb_trio._gateway._views import BatchView, Percentiles, QueueView, WorkerView
from rpcb_trio._instruments import Condition

SHOWN = 60
"""Batches that are shown one by one."""

RATE_OVER = 10.0
"""Seconds over which requests are counted for their rate."""

NUMBERS_OVER = 60.0
"""Seconds over which all else is summed up."""

MOST_TIMES = 2000
"""Of requests, the newest, that percentiles are of; to sort them takes less than a millisecond."""

MOST_BATCHES = 1000
"""Batches, the newest, that numbers are of."""

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
        self._workers: dict[Worker, _Told] = {}
        self.queued: int | None = None
        """As `QueueView` has it; to be set."""

    def take(self, event: AnyEvent, now: float) -> None:
        """Take what a worker tells."""
        worker: Worker = (event.place, event.worker)
        if isinstance(event, BatchEvent):
            self._batches.append((now, event))
        elif worker in self._workers:
            self._workers[worker].take(event, now)
        elif len(self._workers) < MOST_WORKERS:
            self._workers[worker] = _Told(event, now)

    def is_over(self, now: float) -> bool:
        """Whether there is nothing left to show."""
        self._forget(now)
        return not self._workers and not self._recent(now)

    def view(self, now: float) -> QueueView:
        """All of it, as it is now."""
        self._forget(now)
        recent = self._recent(now)
        newest = list(
            islice((each for event in reversed(recent) for each in request_times(event)), MOST_TIMES)
        )
        workers = [self._workers[worker] for worker in sorted(self._workers)]
        return QueueView(
            queue=self._queue,
            waiting=sum(each.state.waiting for each in workers),
            queued=self.queued,
            rate=sum(each.rate(now) for each in workers),
            failed=sum(each.failed for each in workers),
            mean_size=sum(event.size for event in recent) / len(recent) if recent else None,
            total=Percentiles.of((each.total, each.requests) for each in newest),
            wait=Percentiles.of((each.wait, each.requests) for each in newest),
            service=Percentiles.of((event.service_ms, 1) for event in recent),
            batches=[BatchView.of(event) for _, event in list(self._batches)[-SHOWN:]],
            workers=[WorkerView.of(each.state, silent=each.is_silent(now)) for each in workers],
        )

    def _recent(self, now: float) -> list[BatchEvent]:
        return [event for heard, event in self._batches if heard > now - NUMBERS_OVER]

    def _forget(self, now: float) -> None:
        for worker in [worker for worker, each in self._workers.items() if each.is_over(now)]:
            del self._workers[worker]


class _Told:
    """What one worker told."""

    def __init__(self, state: StateEvent, now: float) -> None:
        self._counters = Counters(NUMBERS_OVER)
        self.take(state, now)

    def take(self, state: StateEvent, now: float) -> None:
        self._counters.take(state)
        self._heard = now
        self.state = state

    @property
    def failed(self) -> int:
        gain = self._counters.gained(NUMBERS_OVER)
        return 0 if gain is None else gain.failed

    def rate(self, now: float) -> float:
        gain = self._counters.gained(RATE_OVER)
        return 0.0 if gain is None or now - self._heard > SILENT_AFTER else gain.settled / gain.seconds

    def is_silent(self, now: float) -> bool:
        return now - self._heard > SILENT_AFTER and self.state.condition is not Condition.STOPPED

    def is_over(self, now: float) -> bool:
        patience = SILENT_AFTER if self.state.condition is Condition.STOPPED else GONE_AFTER
        return now - self._heard > patience
