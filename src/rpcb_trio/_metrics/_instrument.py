"""The instrument that counts for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import trio
from prometheus_client import CollectorRegistry

from rpcb_trio import errors
from rpcb_trio._instruments import Condition, HealthInstrument, Setup
from rpcb_trio._messages import Answer, Batch, Request, Run, Settled, Trigger
from rpcb_trio._metrics import _series as series
from rpcb_trio._metrics._collector import collector_of
from rpcb_trio._metrics._counts import Histogram, Sample, Tally
from rpcb_trio.errors import BrokerError, EncodeError, KilledWorker, NoReplyTo, OutcomeError, ReplyTooBig

SUCCESS = "success"
CODES = {
    each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, OutcomeError)
}
"""Of this package's own errors; a service may have further ones."""
OUTCOMES = (SUCCESS, *sorted(CODES), Settled.UNROUTABLE, Settled.REJECTED, Settled.REQUEUED)

REFUSED_REPLY = "refused-reply"
"""Why a request was dead-lettered that has no error of its own: the broker refused its reply."""
REASONS = (NoReplyTo.code, KilledWorker.code, ReplyTooBig.code, EncodeError.code, REFUSED_REPLY)


class MetricsInstrument(HealthInstrument):
    """Counts what one worker does, for a registry of prometheus_client.

    The series are those of docs/operating/metrics.md, with the worker's queue as a label. Several workers may
    count for one registry; those of one queue are added up. All times are readings of the worker's own clock.

    Args:
        registry: what it counts for; prometheus_client's own registry if left out.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        self._collector = collector_of(registry)
        self._setup: Setup | None = None
        self._version: str | None = None
        self._outcomes = Tally(OUTCOMES)
        self._dead_letters = Tally(REASONS)
        self._triggers = Tally(Trigger)
        self._durations = Histogram(series.SECONDS)
        self._waits = Histogram(series.SECONDS)
        self._service_times = Histogram(series.SECONDS)
        self._predictions = Histogram(series.SECONDS)
        self._sizes = Histogram(series.SIZES)
        self._held = self._pending = self._busy = 0
        self._redelivered = self._sessions = self._parts = 0
        self._hits = self._misses = self._cache_bytes = 0
        self._is_up = False

    def worker_starting(self, setup: Setup) -> None:
        super().worker_starting(setup)
        self._setup, self._version = setup, setup.version
        self._collector.add(self)

    def model_swapped(self, version: str | None) -> None:
        self._version = version

    def worker_stopped(self, left: int) -> None:
        self._end_session()
        super().worker_stopped(left)
        self._collector.end(self)

    def session_opened(self, queue: str) -> None:
        self._is_up = True
        self._sessions += 1
        super().session_opened(queue)

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        self._end_session()
        super().session_lost(error, retry_in)

    def requests_received(self, requests: Sequence[Request]) -> None:
        self._held += len(requests)
        self._pending += len(requests)
        self._redelivered += len([request for request in requests if request.redelivered])

    def request_repeated(self, request: Request) -> None:  # noqa: ARG002 - it is only counted
        self._pending -= 1

    def cache_hit(self, request: Request) -> None:  # noqa: ARG002 - likewise
        self._pending -= 1
        self._hits += 1

    def cache_missed(self, request: Request) -> None:  # noqa: ARG002 - likewise
        self._misses += 1

    def cache_changed(self, size: int) -> None:
        self._cache_bytes = size

    def request_refused(self, request: Request, error: OutcomeError, cost: float | None) -> None:  # noqa: ARG002 - likewise
        self._pending -= 1

    def batch_closed(self, batch: Batch) -> None:
        self._pending -= batch.first_of
        self._busy += 1
        self._triggers.add(batch.trigger)
        self._sizes.observe(batch.size)
        self._waits.observe_all([*batch.waits])

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:  # noqa: ARG002 - their sum counts
        self._busy -= 1
        self._service_times.observe(seconds)
        if batch.predicted is not None:
            self._predictions.observe(batch.predicted)

    def parts_sent(self, parts: Sequence[Answer]) -> None:
        self._parts += len(parts)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        now = trio.current_time()
        self._held -= len(answers)
        if settled.count(Settled.REPLIED) < len(settled):
            self._count_unreplied(answers, settled)
            answers = [
                answer for answer, ending in zip(answers, settled, strict=True) if ending is Settled.REPLIED
            ]
        if not answers:
            return
        durations = [now - answer.request.arrived for answer in answers if answer.error is None]
        self._outcomes[SUCCESS] += len(durations)
        if len(durations) < len(answers):
            durations += self._count_failed(answers, now)
        self._durations.observe_all(durations)

    def _count_failed(self, answers: Sequence[Answer], now: float) -> list[float]:
        """Returns how long each took."""
        failed = [(answer.request, answer.error) for answer in answers if answer.error is not None]
        for _, error in failed:
            self._outcomes.add(error.code)
        return [now - request.arrived for request, _ in failed]

    def _count_unreplied(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        for answer, ending in zip(answers, settled, strict=True):
            if ending is not Settled.REPLIED:
                self._outcomes.add(_outcome(answer, ending))
            if ending is Settled.REJECTED:
                self._dead_letters.add(_reason(answer))

    def _end_session(self) -> None:
        """What was held is the broker's again."""
        self._held = self._pending = self._busy = 0
        self._is_up = False

    def samples(self) -> Iterator[Sample]:
        """All that is counted, at this moment."""
        if self._setup is None:
            return
        queue = self._setup.queue.encode("utf-8", "replace").decode()
        for outcome, count in list(self._outcomes.items()):
            yield series.REQUESTS, (queue, outcome), count
        for trigger, count in list(self._triggers.items()):
            yield series.BATCHES, (queue, trigger), count
        for reason, count in list(self._dead_letters.items()):
            yield series.DEAD_LETTERS, (queue, reason), count
        yield series.REQUEST_SECONDS, (queue,), self._durations.distribution
        yield series.QUEUE_WAIT_SECONDS, (queue,), self._waits.distribution
        yield series.INFER_SECONDS, (queue,), self._service_times.distribution
        yield series.INFER_PREDICTED_SECONDS, (queue,), self._predictions.distribution
        yield series.BATCH_SIZE, (queue,), self._sizes.distribution
        yield series.HELD, (queue,), self._held
        yield series.PENDING, (queue,), self._pending
        yield series.EXECUTORS_BUSY, (queue,), self._busy
        yield series.EXECUTORS, (queue,), self._setup.executors
        yield series.SESSION_UP, (queue,), self._is_up
        yield series.SESSION_BLOCKED, (queue,), self._condition is Condition.BLOCKED
        yield series.READY, (queue,), self._condition is Condition.CONSUMING
        yield series.REDELIVERED, (queue,), self._redelivered
        yield series.REPLY_PARTS, (queue,), self._parts
        yield series.CACHE_HITS, (queue,), self._hits
        yield series.CACHE_MISSES, (queue,), self._misses
        yield series.CACHE_BYTES, (queue,), self._cache_bytes
        yield series.RECONNECTS, (queue,), max(self._sessions - 1, 0)
        if (version := self._version) is not None:
            yield series.MODEL_INFO, (queue, version), 1.0


def _outcome(answer: Answer, ending: Settled) -> str:
    """Of a request that was settled without a reply."""
    if answer.error is not None:
        return answer.error.code
    return SUCCESS if ending is Settled.NO_REPLY_TO else ending  # that its result is dropped is as set


def _reason(answer: Answer) -> str:
    if answer.dead_letter is None or answer.error is None:
        return REFUSED_REPLY
    return answer.error.code
