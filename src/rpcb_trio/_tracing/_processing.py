"""The spans of requests on their way through a worker: of a batch, or of one that is not computed.

All but `infer` are made once they are over, with the times that they had on the worker's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Token

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, set_value
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from rpcb_trio._messages import Answer, Batch, Ending, Request, Run, Settled
from rpcb_trio._tracing._api import NOWHERE, OF_A_BATCH, SYSTEM, Attributes, below, context_of, fail, tracer
from rpcb_trio._tracing._clock import Clock
from rpcb_trio._tracing._ids import ids_of
from rpcb_trio.errors import CallerCancelled

OPERATIONS = {Settled.REJECTED: "reject", Settled.REQUEUED: "requeue"}
"""How a request is settled; any other is acked."""


class Processing:
    """A `process` span with a link for each request, and its children.

    It is the child of the oldest request that is sampled, so that what samples by the parent records a batch
    wherever it records one of its requests.
    """

    def __init__(
        self,
        queue: str,
        requests: Sequence[Request],
        clock: Clock,
        *,
        until: float,
        attributes: Attributes,
    ) -> None:
        self._queue, self._clock = queue, clock
        contexts = [context_of(request.headers) for request in requests]
        self._span = tracer().start_span(
            f"process {queue}",
            below(_parent(contexts)),
            SpanKind.CONSUMER,
            _attributes("process", "process", len(requests), queue) | attributes,
            [
                Link(context, _link_attributes(request, until))
                for request, context in zip(requests, contexts, strict=True)
                if context is not None
            ],
            start_time=clock.ns(min(request.arrived for request in requests)),
        )
        self._context = trace.set_span_in_context(self._span, NOWHERE)
        self._infer: Span | None = None
        self._token: Token[Context] | None = None
        self._began = self._encoded = until
        self._size = self._unsettled = len(requests)
        self._failed = self._cancelled = 0

    @property
    def is_recording(self) -> bool:
        """Whether it is sampled."""
        return self._span.is_recording()

    def decoded(self, batch: Batch) -> None:
        """Make spans of the times when requests of the batch were decoded; one where these overlap."""
        times = sorted((each.began, each.ready) for each in batch.members if each.ready > each.began)
        whole = list[tuple[float, float, int]]()
        for began, ready in times:
            if whole and began <= whole[-1][1]:
                start, end, count = whole.pop()
                whole.append((start, max(end, ready), count + 1))
            else:
                whole.append((began, ready, 1))
        for start, end, count in whole:
            self._child("decode", start, end, attributes={"rpcb.requests": count})

    def begin_infer(self, now: float) -> None:
        """Start the span `infer` and make it current, in this task and so in the executor's thread."""
        self._began = now
        self._infer = tracer().start_span("infer", self._context, start_time=self._clock.ns(now))
        self._token = attach(set_value(OF_A_BATCH, True, trace.set_span_in_context(self._infer, NOWHERE)))  # noqa: FBT003 - a value of any type

    def end_infer(self, now: float, runs: Sequence[Run]) -> None:
        """End it, in the task that started it."""
        if self._token is not None:
            detach(self._token)
        if self._infer is None:
            return
        if len(runs) > 1:
            self._infer.set_attribute("rpcb.infer.runs", len(runs))
        at = self._began
        for run in runs if len(runs) > 1 else ():
            at += run.seconds
            facts = {"rpcb.run.size": run.work.size, "rpcb.run.seconds": run.seconds}
            self._infer.add_event("run", facts | {"rpcb.run.ending": str(run.ending)}, self._clock.ns(at))
        if runs and all(run.ending is not Ending.COMPUTED for run in runs):
            fail(self._infer, str(runs[-1].ending), "no run of infer returned results")
        self._end_infer(now)

    def encoded(self, now: float, seconds: float | None) -> None:
        """Take in that replies were encoded; `seconds` is None where that takes no time."""
        self._encoded = now
        if seconds is not None:
            self._child("encode", now - seconds, now)

    def settled(self, parts: Sequence[tuple[Answer, Settled]], now: float) -> bool:
        """Take in what became of some of the requests; whether it was the last of them."""
        sent = [answer for answer, _ in parts if answer.reply is not None and answer.request.reply_to]
        if sent:
            self._child("send", self._encoded, now, SpanKind.PRODUCER, _sending(len(sent)))
        operations = [OPERATIONS.get(ending, "ack") for _, ending in parts]
        for each in dict.fromkeys(operations):
            attributes = _attributes(each, "settle", operations.count(each), self._queue)
            self._child(f"{each} {self._queue}", now, now, SpanKind.CLIENT, attributes)
        for answer, ending in parts:
            self._note_failure(answer, ending, now)
        self._unsettled -= len(parts)
        if not self._unsettled:
            self._span.end(self._clock.ns(now))
        return not self._unsettled

    def leave(self, now: float) -> None:
        """One of the requests is not settled with this: it goes on with its next piece."""
        self._unsettled -= 1
        if not self._unsettled:
            self._span.end(self._clock.ns(now))

    def abandon(self, code: str, why: str, now: float) -> None:
        """End all that is open: what is not settled yet goes back to the broker."""
        if self._infer is not None:
            fail(self._infer, code, why)
            self._end_infer(now)
        fail(self._span, code, why)
        self._span.end(self._clock.ns(now))

    def hang(self, code: str, why: str, now: float) -> None:
        """Take in that `infer` does not return."""
        if self._infer is not None:
            fail(self._infer, code, why)
            self._end_infer(now)

    def _end_infer(self, now: float) -> None:
        if self._infer is not None:
            self._infer.end(self._clock.ns(now))
            self._infer = None

    def _note_failure(self, answer: Answer, ending: Settled, now: float) -> None:
        if isinstance(answer.error, CallerCancelled):  # nothing has failed
            self._cancelled += 1
            self._span.set_attribute("rpcb.cancelled", self._cancelled)
            return
        code = str(ending) if answer.error is None else answer.error.code
        if answer.error is None and ending not in OPERATIONS:
            return
        self._failed += 1
        why = code if answer.error is None else answer.error.in_full
        if self._size > 1:
            facts: Mapping[str, str] = {"error.type": code, "rpcb.error": why}
            ids = {f"rpcb.{name}": str(value) for name, value in ids_of(answer.request).as_fields().items()}
            self._span.add_event("request failed", {**facts, **ids}, self._clock.ns(now))
            why = f"{self._failed} of {self._size} requests failed"
        fail(self._span, code, why)

    def _child(
        self,
        name: str,
        start: float,
        end: float,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
    ) -> None:
        span = tracer().start_span(name, self._context, kind, attributes, start_time=self._clock.ns(start))
        span.end(self._clock.ns(end))


def _parent(contexts: Sequence[SpanContext | None]) -> SpanContext | None:
    known = [context for context in contexts if context is not None]
    sampled = (context for context in known if context.trace_flags.sampled)
    return next(sampled, known[0] if known else None)


def _attributes(name: str, kind: str, count: int, queue: str) -> Attributes:
    attributes: Attributes = {
        **SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue,
    }
    if count > 1:
        attributes["messaging.batch.message_count"] = count
    return attributes


def _sending(count: int) -> Attributes:
    """Of replies; they go to queues of their callers' own."""
    attributes = _attributes("send", "send", count, "")
    del attributes["messaging.destination.name"]
    return attributes | {"messaging.destination.temporary": True, "messaging.destination.anonymous": True}


def _link_attributes(request: Request, until: float) -> Attributes:
    ids = ids_of(request)
    attributes: Attributes = {
        "messaging.message.body.size": len(request.body),
        "messaging.rabbitmq.message.delivery_tag": request.tag,
        "rpcb.request.wait": until - request.arrived,
    }
    if ids.correlation_id is not None:
        attributes["messaging.message.conversation_id"] = ids.correlation_id
    if ids.request_id is not None:
        attributes["rpcb.request_id"] = ids.request_id
    if request.redelivered:
        attributes["rpcb.request.redelivered"] = True
    return attributes
