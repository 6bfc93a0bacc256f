"""The spans that OpenTelemetry's SDK records within a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanContext


class Spans:
    """What was recorded so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> list[ReadableSpan]:
        """In the order in which they ended."""
        return [*self._exporter.get_finished_spans()]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span

    def below(self, parent: ReadableSpan) -> list[ReadableSpan]:
        """Its children, in the order of their starts."""
        children = [span for span in self.all if span.parent is not None and is_same(span.parent, parent)]
        return sorted(children, key=lambda span: span.start_time or 0)


def is_same(context: SpanContext, span: ReadableSpan) -> bool:
    own = span.get_span_context()
    return own is not None and (own.trace_id, own.span_id) == (context.trace_id, context.span_id)


def trace_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return trace.format_trace_id(context.trace_id)


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def facts(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def code(span: ReadableSpan) -> tuple[str, object]:
    """Its status and its `error.type`."""
    return span.status.status_code.name, facts(span).get("error.type")


@contextmanager
def recording(monkeypatch: pytest.MonkeyPatch, sampler: Sampler = ALWAYS_ON) -> Iterator[Spans]:
    """Set up an SDK for a while; a process has one for good, so this goes round the API."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with monkeypatch.context() as patched:
        patched.setattr(trace, "_TRACER_PROVIDER", provider)
        yield Spans(exporter)
