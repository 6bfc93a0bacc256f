"""The events of all workers, summed up over the last seconds; pure: no `await`, and no clock of its own."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import msgspec

from rpcb_trio._events._counters import Counters
from rpcb_trio._events._events import SILENT_AFTER, AnyEvent, BatchEvent, StateEvent
from rpcb_trio._events._times import percentile, request_times
from rpcb_trio._instruments import Condition

WINDOW = 10.0
"""Seconds that rates, means and percentiles look back."""

FORGOTTEN_AFTER = 15.0
"""Seconds of silence after which it is no longer shown."""

MOST_WORKERS = 1000
MOST_BATCHES = 500
"""Of a worker, however fast it is; in the window."""

LAST_BATCHES = 24

NO_DEPTHS: Mapping[str, int | None] = {}


class WorkerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. Of its last seconds, what is None is not known (yet)."""

    worker: str
    queue: str
    host: str
    pid: int
    start: str
    """The id of its start; empty where it does not tell."""
    device: str | None
    gone: bool
    """Whether nothing was heard of it for 5 s."""
    condition: Condition
    reason: str | None
    seconds: float
    """For how long it has been so."""
    policy: str
    max_batch_size: int
    executors: int
    requests_per_second: float | None
    """Those that are settled, with an answer or an error."""
    failed_per_second: float | None
    batches_per_second: float | None
    mean_batch_size: float | None
    mean_wait_ms: float | None
    """Of its requests, from a request's arrival until its batch was closed."""
    mean_service_ms: float | None
    """Of its batches."""
    p50_total_ms: float | None
    """Of its requests, from the arrival until they were settled."""
    p99_total_ms: float | None
    triggers: dict[str, int]
    """Why how many batches were closed."""
    last_sizes: tuple[int, ...]
    """Of the last batches, the newest last."""
    waiting: int
    held: int
    failed: int
    """Since it was started."""
    rss: int | None
    dropped: int


class QueueSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One queue, with all its workers that are not gone."""

    queue: str
    ready: int | None
    """Messages that lie in it at the broker; None where that is not known."""
    workers: int
    """Those that consume it, or could."""
    requests_per_second: float
    waiting: int
    held: int
    failed: int


class Summary(msgspec.Struct, frozen=True):
    """All that is known at one moment."""

    workers: list[WorkerSummary]
    """By queue, name and place."""
    queues: list[QueueSummary]


class Observer:
    """Takes events as they come, and sums them up when asked. Moments are in seconds, of any steady clock."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, str, str], _Observed] = {}

    def take(self, event: AnyEvent, now: float) -> None:
        """Take an event in; of a worker whose state is not known yet, batches are passed over."""
        key = (event.queue, event.worker, event.place)
        observed = self._workers.get(key)
        if isinstance(event, BatchEvent):
            if observed is not None:
                observed.take_batch(event, now)
        elif observed is not None:
            observed.take_state(event, now)
        elif len(self._workers) < MOST_WORKERS:
            self._workers[key] = _Observed(event, now)

    def summary(self, now: float, depths: Mapping[str, int | None] = NO_DEPTHS) -> Summary:
        """Sum up; who has been silent for long is forgotten. `depths` are those of the queues."""
        for key in [key for key, each in self._workers.items() if each.silence(now) > FORGOTTEN_AFTER]:
            del self._workers[key]
        workers = [self._workers[key].summary(now) for key in sorted(self._workers)]
        of_queues: dict[str, list[WorkerSummary]] = {}
        for each in workers:
            of_queues.setdefault(each.queue, []).append(each)
        return Summary(workers, [_queue(name, of_queues[name], depths.get(name)) for name in of_queues])


class _Observed:
    """One worker's last seconds."""

    def __init__(self, state: StateEvent, now: float) -> None:
        self._state = state
        self._heard = now
        self._counters = Counters(WINDOW)
        self._counters.take(state)
        self._batches: deque[tuple[float, BatchEvent]] = deque(maxlen=MOST_BATCHES)

    def silence(self, now: float) -> float:
        return now - self._heard

    def take_state(self, state: StateEvent, now: float) -> None:
        self._state, self._heard = state, now
        self._counters.take(state)

    def take_batch(self, batch: BatchEvent, now: float) -> None:
        self._heard = now
        while len(self._batches) > LAST_BATCHES and self._batches[0][0] <= now - WINDOW:
            self._batches.popleft()
        self._batches.append((now, batch))

    def summary(self, now: float) -> WorkerSummary:
        state, gone = self._state, self.silence(now) > SILENT_AFTER
        batches = [batch for at, batch in self._batches if at > now - WINDOW]
        totals = sorted((each.total, each.requests) for batch in batches for each in request_times(batch))
        settled, failed, closed = (None, None, None) if gone else self._rates()
        return WorkerSummary(
            **{field: getattr(state, field) for field in COPIED},
            gone=gone,
            seconds=state.seconds + self.silence(now),
            requests_per_second=settled,
            failed_per_second=failed,
            batches_per_second=closed,
            mean_batch_size=_mean([(batch.size, 1) for batch in batches]),
            mean_wait_ms=_mean([(batch.wait_mean_ms, batch.size) for batch in batches]),
            mean_service_ms=_mean([(batch.service_ms, 1) for batch in batches]),
            p50_total_ms=percentile(totals, 50),
            p99_total_ms=percentile(totals, 99),
            triggers=dict(Counter(str(batch.trigger) for batch in batches)),
            last_sizes=tuple(batch.size for _, batch in [*self._batches][-LAST_BATCHES:]),
        )

    def _rates(self) -> Sequence[float | None]:
        """Per second: settled and failed requests, and batches."""
        gain = self._counters.gained(WINDOW)
        return (None, None, None) if gain is None else [count / gain.seconds for count in gain[1:]]


COPIED = tuple(
    field
    for field in WorkerSummary.__struct_fields__
    if field in StateEvent.__struct_fields__ and field != "seconds"
)


def _mean(weighted: Sequence[tuple[float, float]]) -> float | None:
    weight = sum(each for _, each in weighted)
    return sum(value * each for value, each in weighted) / weight if weight else None


def _queue(name: str, workers: Sequence[WorkerSummary], ready: int | None) -> QueueSummary:
    here = [each for each in workers if not each.gone and each.condition is not Condition.STOPPED]
    return QueueSummary(
        queue=name,
        ready=ready,
        workers=len(here),
        requests_per_second=sum(each.requests_per_second or 0.0 for each in here),
        waiting=sum(each.waiting for each in here),
        held=sum(each.held for each in here),
        failed=sum(each.failed for each in here),
    )
