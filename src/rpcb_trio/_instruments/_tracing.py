"""The instrument that makes OpenTelemetry's spans of a worker's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from rpcb_trio._instruments._instrument import Instrument, Setup
from rpcb_trio._messages import Answer, Batch, Request, Run, Settled
from rpcb_trio._tracing import loaded_spans, spans
from rpcb_trio.errors import BrokerError, ExecutorHung, OutcomeError

if TYPE_CHECKING:
    from rpcb_trio._tracing import Processing


def tracing_if_on() -> list[Instrument]:
    """A `TracingInstrument`, where an SDK is set up."""
    opentelemetry = spans()
    return [TracingInstrument()] if opentelemetry is not None and opentelemetry.is_on else []


class TracingInstrument(Instrument):
    """Makes OpenTelemetry's spans: `process` for each batch, with a link for each request, and its children.

    The children are `decode`, `infer`, `encode`, `send` and `ack`. `infer` is the current span while the
    service's `infer` runs, so spans that it starts, and calls of other services, go below it. Without an SDK
    it makes none. Each worker needs an instrument of its own.

    Raises:
        SettingError: `opentelemetry-api` is not installed.
    """

    def __init__(self) -> None:
        self._spans = loaded_spans()
        self._server: tuple[str, int] | None = None
        self._queue = ""
        self._running: dict[int, Processing] = {}
        """By the ids of batches."""
        self._open: dict[Request, Processing] = {}
        """Those that are recorded."""

    def worker_starting(self, setup: Setup) -> None:
        self._queue, self._server = setup.queue, setup.server

    def request_repeated(self, request: Request) -> None:
        self._process_alone(request, {"rpcb.repeated": True})

    def cache_hit(self, request: Request) -> None:
        self._process_alone(request, {"rpcb.cache": "hit"})

    def request_refused(self, request: Request, error: OutcomeError, cost: float | None) -> None:  # noqa: ARG002 - the hook's arguments
        self._process_alone(request, {})

    def batch_closed(self, batch: Batch) -> None:
        """Called in the task that computes the batch, so that the executor's thread gets its context."""
        attributes: dict[str, str | int | float | bool] = {
            "rpcb.batch.id": batch.id,
            "rpcb.batch.size": batch.size,
            "rpcb.batch.trigger": str(batch.trigger),
            "rpcb.batch.wait": max(batch.waits),
            "rpcb.batch.cost": batch.work.total,
        }
        if batch.predicted is not None:
            attributes["rpcb.batch.predicted"] = batch.predicted
        if batch.version is not None:
            attributes["rpcb.model.version"] = batch.version
        for member in batch.members if batch.first_of < batch.size else ():
            former = self._open.pop(member.request, None)  # of the batch with the piece before it
            if former is not None:
                former.leave(batch.closed)
        requests = [member.request for member in batch.members]
        processing = self._process(requests, batch.closed, attributes)
        if processing.is_recording:
            processing.decoded(batch)
        processing.begin_infer(trio.current_time())
        self._running[batch.id] = processing

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:  # noqa: ARG002 - the hook's arguments
        processing = self._running.pop(batch.id, None)
        if processing is not None:
            processing.end_infer(trio.current_time(), runs)

    def replies_encoded(self, answers: Sequence[Answer], seconds: float | None) -> None:
        now = trio.current_time()
        found = (self._open.get(answer.request) for answer in answers)
        for processing in {each for each in found if each is not None}:
            processing.encoded(now, seconds)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        now = trio.current_time()
        parts: dict[Processing, list[tuple[Answer, Settled]]] = {}
        for answer, ending in zip(answers, settled, strict=True):
            processing = self._open.pop(answer.request, None)
            if processing is not None:
                parts.setdefault(processing, []).append((answer, ending))
        for processing, its_parts in parts.items():
            processing.settled(its_parts, now)

    def executor_hung(self, error: ExecutorHung, batch: Batch | None) -> None:
        processing = None if batch is None else self._running.pop(batch.id, None)
        if processing is not None:
            processing.hang("hung", str(error), trio.current_time())

    def session_lost(self, error: BrokerError, retry_in: float) -> None:  # noqa: ARG002 - the hook's arguments
        self._abandon_all("session-lost", f"{error}; the broker redelivers what it held")

    def worker_stopped(self, left: int) -> None:  # noqa: ARG002 - the hook's arguments
        self._abandon_all("stopped", "the worker stopped; the broker redelivers what it held")

    def _process(
        self, requests: Sequence[Request], until: float, attributes: dict[str, str | int | float | bool]
    ) -> Processing:
        processing = self._spans.processing(
            self._queue,
            requests,
            now=trio.current_time(),
            until=until,
            attributes=attributes,
            server=self._server,
        )
        if processing.is_recording:
            self._open.update((request, processing) for request in requests)
        return processing

    def _process_alone(self, request: Request, attributes: dict[str, str | int | float | bool]) -> None:
        self._process([request], trio.current_time(), attributes)

    def _abandon_all(self, code: str, why: str) -> None:
        now = trio.current_time()
        for processing in {*self._open.values(), *self._running.values()}:
            processing.abandon(code, why, now)
        self._open.clear()
        self._running.clear()
