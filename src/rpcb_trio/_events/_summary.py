"""The events of all workers, summed up; pure: no `await`, and no clock of its own.

`top` and the gateway's live page show this. Rates are what the workers' counters gained, so they hold even
where events of batches are dropped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import accumulate, islice
from typing import Any, NamedTuple, Self

import msgspec

from rpcb_trio._events._counters import Counters
from rpcb_trio._events._events import SILENT_AFTER, AnyEvent, BatchEvent, StateEvent
from rpcb_trio._instruments import Condition
from rpcb_trio._statistics import percentile

RATES_OVER = 10.0
"""Seconds that rates look back."""

WINDOW = 60.0
"""Seconds that all else looks back."""

FORGOTTEN_AFTER = 30.0
"""Seconds of silence after which a worker is left out; of one that has stopped, `SILENT_AFTER`."""

MOST_WORKERS = 1000
MOST_QUEUES = 100

MOST_BATCHES = 500
"""Of a worker, the newest, however fast it is."""

MOST_TIMES = 2000
"""Of requests, the newest, that percentiles are of; to sort them takes less than a millisecond."""

LAST_BATCHES = 60
"""Of a queue, that can be shown one by one."""

LAST_SIZES = 24
"""Of a worker's batches."""

NO_DEPTHS: Mapping[str, int | None] = {}


class Percentiles(msgspec.Struct, frozen=True):
    """In milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[tuple[float, float]]) -> Self | None:
        """Of values, each with its weight; None of nothing."""
        ordered = sorted(values)
        if not ordered:
            return None
        times, ranks = [value for value, _ in ordered], list(accumulate(weight for _, weight in ordered))
        return cls(*(round(percentile(times, each, ranks), 3) for each in (50, 95, 99)))


class WorkerState(StateEvent, frozen=True, kw_only=True):
    """One worker: its last state, and what follows from its states. What is None is not known (yet)."""

    gone: bool
    """Whether nothing was heard of it for 5 s, though it had not stopped."""
    requests_per_second: float | None
    """Those that are settled, with a reply or an error reply, or given up by their callers."""
    failed_per_second: float | None
    batches_per_second: float | None


class WorkerSummary(WorkerState, frozen=True, kw_only=True):
    """One worker with its batches of the last minute."""

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


class QueueSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One queue, with all its workers that are neither gone nor stopped."""

    queue: str
    ready: int | None
    """Messages that lie in it at the broker; None where that is not known."""
    workers: int
    """Those that consume it, or could."""
    requests_per_second: float
    waiting: int
    held: int
    failed: int
    """Since the workers' starts."""
    failed_in_a_minute: int
    mean_batch_size: float | None
    wait: Percentiles | None
    """Of requests, from the arrival until the batch was closed."""
    service: Percentiles | None
    """Of batches."""
    total: Percentiles | None
    """Of requests, from the arrival until they were settled."""


class Observer:
    """Takes events as they come, and sums them up when asked. Moments are in seconds, of any steady clock."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, str, str], _Observed] = {}
        self._last: dict[str, deque[BatchEvent]] = {}

    @property
    def queues(self) -> list[str]:
        """The names of all queues that are known, in order."""
        return sorted(self._last)

    def take(self, event: AnyEvent, now: float) -> None:
        """Take an event in. Batches of a worker whose state is not known yet are passed over."""
        key = (event.queue, event.worker, event.place)
        observed = self._workers.get(key)
        if observed is None:
            if isinstance(event, StateEvent) and self._has_room(event.queue):
                self._last.setdefault(event.queue, deque(maxlen=LAST_BATCHES))
                self._workers[key] = _Observed(event, now)
        elif isinstance(event, BatchEvent):
            event = msgspec.structs.replace(event, requests=())  # they are many, and are not summed up
            observed.take_batch(event, now)
            self._last[event.queue].append(event)
        else:
            observed.take_state(event, now)

    def forget(self, now: float, depths: Mapping[str, int | None] = NO_DEPTHS) -> None:
        """Leave out workers that are silent for long, and queues that have neither workers nor messages."""
        for key in [key for key, each in self._workers.items() if each.is_over(now)]:
            del self._workers[key]
        kept = {queue for queue, _, _ in self._workers}
        for queue in [queue for queue in self._last if queue not in kept and not depths.get(queue)]:
            del self._last[queue]

    def workers(self, now: float) -> list[WorkerSummary]:
        """By queue, name and place."""
        return [self._workers[key].summary(now) for key in sorted(self._workers)]

    def states(self, queue: str, now: float) -> list[WorkerState]:
        """The workers of a queue, without what it costs to sum up their batches."""
        return [WorkerState(**each.facts(now)) for each in self._of(queue)]

    def queue(self, name: str, now: float, ready: int | None = None) -> QueueSummary:
        """Sum up a queue, in which so many messages are ready."""
        observed = self._of(name)
        here = [each for each in observed if each.is_here(now)]
        newest = merge(*(each.recent(now) for each in observed), key=lambda heard: -heard[0])
        batches = [batch for _, batch in islice(newest, MOST_BATCHES)]
        times = [*islice((each for batch in batches for each in request_times(batch)), MOST_TIMES)]
        return QueueSummary(
            queue=name,
            ready=ready,
            workers=len(here),
            requests_per_second=sum(each.rates(now)[0] or 0.0 for each in here),
            waiting=sum(each.last.waiting for each in here),
            held=sum(each.last.held for each in here),
            failed=sum(each.last.failed for each in here),
            failed_in_a_minute=sum(each.failed_in_a_minute for each in observed),
            mean_batch_size=_mean([(batch.size, 1) for batch in batches]),
            wait=Percentiles.of((each.wait, each.requests) for each in times),
            service=Percentiles.of((batch.service_ms, 1) for batch in batches),
            total=Percentiles.of((each.total, each.requests) for each in times),
        )

    def last_batches(self, queue: str) -> list[BatchEvent]:
        """The last of a queue, the newest last."""
        return list(self._last.get(queue, ()))

    def _of(self, queue: str) -> list[_Observed]:
        return [self._workers[key] for key in sorted(self._workers) if key[0] == queue]

    def _has_room(self, queue: str) -> bool:
        return len(self._workers) < MOST_WORKERS and (queue in self._last or len(self._last) < MOST_QUEUES)


class _Observed:
    """One worker's last state and last batches."""

    def __init__(self, state: StateEvent, now: float) -> None:
        self._counters = Counters(WINDOW)
        self._batches: deque[tuple[float, BatchEvent]] = deque(maxlen=MOST_BATCHES)
        self.take_state(state, now)

    def take_state(self, state: StateEvent, now: float) -> None:
        self.last, self._heard = state, now
        self._counters.take(state)

    def take_batch(self, batch: BatchEvent, now: float) -> None:
        self._heard = now
        self._batches.append((now, batch))

    @property
    def _has_stopped(self) -> bool:
        return self.last.condition is Condition.STOPPED

    def _is_silent(self, now: float) -> bool:
        return now - self._heard > SILENT_AFTER

    def is_here(self, now: float) -> bool:
        return not self._has_stopped and not self._is_silent(now)

    def is_over(self, now: float) -> bool:
        return now - self._heard > (SILENT_AFTER if self._has_stopped else FORGOTTEN_AFTER)

    def recent(self, now: float) -> Iterator[tuple[float, BatchEvent]]:
        """When it was heard of, and the batch; the newest first."""
        for heard in reversed(self._batches):
            if heard[0] <= now - WINDOW:
                return
            yield heard

    def rates(self, now: float) -> Sequence[float | None]:
        """Per second: settled and failed requests, and batches."""
        if self._has_stopped:
            return 0.0, 0.0, 0.0
        gain = None if self._is_silent(now) else self._counters.gained(RATES_OVER)
        return (None, None, None) if gain is None else [count / gain.seconds for count in gain[1:]]

    @property
    def failed_in_a_minute(self) -> int:
        gain = self._counters.gained(WINDOW)
        return 0 if gain is None else gain.failed

    def facts(self, now: float) -> dict[str, Any]:
        settled, failed, batches = self.rates(now)
        return msgspec.structs.asdict(self.last) | {
            "gone": self._is_silent(now) and not self._has_stopped,
            "seconds": self.last.seconds + now - self._heard,
            "requests_per_second": settled,
            "failed_per_second": failed,
            "batches_per_second": batches,
        }

    def summary(self, now: float) -> WorkerSummary:
        batches = [batch for _, batch in self.recent(now)]
        times = islice((each for batch in batches for each in request_times(batch)), MOST_TIMES)
        total = Percentiles.of((each.total, each.requests) for each in times)
        return WorkerSummary(
            **self.facts(now),
            mean_batch_size=_mean([(batch.size, 1) for batch in batches]),
            mean_wait_ms=_mean([(batch.wait_mean_ms, batch.size) for batch in batches]),
            mean_service_ms=_mean([(batch.service_ms, 1) for batch in batches]),
            p50_total_ms=None if total is None else total.p50,
            p99_total_ms=None if total is None else total.p99,
            triggers=dict(Counter(str(batch.trigger) for batch in batches)),
            last_sizes=tuple(batch.size for batch in reversed(batches[:LAST_SIZES])),
        )


class RequestTimes(NamedTuple):
    """Of some requests of a batch, in milliseconds."""

    wait: float
    total: float
    requests: float
    """How many."""


def request_times(batch: BatchEvent) -> Iterator[RequestTimes]:
    """Of a batch's requests, which were all settled together; of a large batch only some waits are known."""
    waits = batch.waits_ms or (batch.wait_mean_ms,)
    for wait in waits:
        yield RequestTimes(wait, batch.total_ms - batch.wait_max_ms + wait, batch.size / len(waits))


def _mean(weighted: Sequence[tuple[float, float]]) -> float | None:
    weight = sum(each for _, each in weighted)
    return sum(value * each for value, each in weighted) / weight if weight else None
