"""The span of a client's call, and how its context travels with the request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from opentelemetry import propagate, trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind

from rpcb_trio._messages import Outgoing, Reply
from rpcb_trio._tracing._api import SYSTEM, TEXTS, Attributes, context_of, fail, of_server, tracer
from rpcb_trio._tracing._clock import Clock
from rpcb_trio.errors import CallError


class Sending:
    """One call of a client: `request` as it is to be sent, and what became of it."""

    def __init__(self, request: Outgoing, span: Span) -> None:
        self.request = request
        self._span = span

    def replied(self, reply: Reply) -> None:
        """Take in the reply, and link to the batch that it comes from where that is in another trace."""
        batch = context_of(reply.headers)
        if batch is not None and batch.trace_id != self._span.get_span_context().trace_id:
            self._span.add_link(batch)
        if reply.error is not None:
            fail(self._span, reply.error, reply.error_reason or "")


@contextmanager
def sending(request: Outgoing, server: tuple[str, int] | None) -> Iterator[Sending]:
    """A PRODUCER span from a call's beginning to its reply; the request's headers bear its context."""
    parent = None
    if not trace.get_current_span().get_span_context().is_valid:  # then the headers may name one
        parent = propagate.extract(request.headers, None, TEXTS)
    where = ":".join(filter(None, (request.exchange, request.routing_key)))
    clock = Clock.of_system()
    span = tracer().start_span(f"send {where}", parent, SpanKind.PRODUCER, start_time=clock.now_ns())
    if span.is_recording():
        span.set_attributes(_attributes(request, where) | of_server(server))
    token = attach(trace.set_span_in_context(span))
    try:
        yield Sending(_carrying_current(request), span)
    except BaseException as error:
        _fail_by(span, error)
        raise
    finally:
        detach(token)
        span.end(clock.now_ns())


def _attributes(request: Outgoing, where: str) -> Attributes:
    return {
        **SYSTEM,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": where,
        "messaging.rabbitmq.destination.routing_key": request.routing_key,
        "messaging.message.conversation_id": request.correlation_id,
        "messaging.message.body.size": len(request.body),
    }


def _carrying_current(request: Outgoing) -> Outgoing:
    """The request with the context of the current span among its headers."""
    headers = dict[str, object]()
    propagate.inject(headers)
    return msgspec.structs.replace(request, headers={**request.headers, **headers}) if headers else request


def _fail_by(span: Span, error: BaseException) -> None:
    if isinstance(error, CallError):
        fail(span, error.code, str(error))
    elif isinstance(error, Exception):
        fail(span, type(error).__name__, str(error))
    else:
        fail(span, "cancelled", "the call was cancelled")
