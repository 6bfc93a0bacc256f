"""OpenTelemetry's API, and nothing of an SDK: what the spans of this package have in common.

Names and attributes are those of the semantic conventions for messaging (v1.44); our own begin with `rpcb`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from opentelemetry import propagate, trace
from opentelemetry.context import Context, create_key
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Status, StatusCode

from rpcb_trio._shown import shown
from rpcb_trio._tracing._ids import LONGEST_CONTEXT

Attributes: TypeAlias = dict[str, str | int | float | bool]

SYSTEM = {"messaging.system": "rabbitmq"}

LONGEST_ERROR = 64
"""Characters of an `error.type`."""


class _Texts(Getter[Mapping[str, Any]]):
    """Reads headers that are sane texts; AMQP's may be anything."""

    def __init__(self, longest_baggage: int) -> None:
        self._longest_baggage = longest_baggage

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(key)
        longest = self._longest_baggage if key == "baggage" else LONGEST_CONTEXT
        if not isinstance(value, str) or len(value) > longest:
            return None
        return [value] if value.isprintable() else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [*carrier]


TEXTS = _Texts(longest_baggage=0)
"""Without it, for a batch has requests of many callers."""

TEXTS_WITH_BAGGAGE = _Texts(longest_baggage=4096)

OF_A_BATCH = create_key("rpcb.of_a_batch")
"""Set in a context whose current span is a batch's."""

NOWHERE = Context()
"""Without a current span, whatever the task was started in."""


def tracer() -> trace.Tracer:
    """Of this package."""
    global _tracer  # noqa: PLW0603 - an SDK makes one anew each time
    provider = trace.get_tracer_provider()
    if _tracer is None or _tracer[0] is not provider:
        _tracer = provider, trace.get_tracer("rpcb_trio")
    return _tracer[1]


_tracer: tuple[object, trace.Tracer] | None = None


def context_of(headers: Mapping[str, object]) -> SpanContext | None:
    """The span that sent a message with these headers; None where they name none."""
    if not headers:
        return None
    context = trace.get_current_span(propagate.extract(headers, NOWHERE, TEXTS)).get_span_context()
    return context if context.is_valid else None


def below(parent: SpanContext | None) -> Context:
    """Where a span is started that is to be the child of another; a root without it."""
    return NOWHERE if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), NOWHERE)


def fail(span: Span, code: str, why: str) -> None:
    """Record why what a span stands for failed."""
    span.set_attribute("error.type", shown(code, LONGEST_ERROR))
    span.set_status(Status(StatusCode.ERROR, shown(why)))


def of_server(server: tuple[str, int] | None) -> Attributes:
    """The attributes of a broker's address."""
    return {} if server is None else {"server.address": server[0], "server.port": server[1]}
