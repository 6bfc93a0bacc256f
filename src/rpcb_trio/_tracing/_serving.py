"""The span of a request over HTTP, by the semantic conventions for HTTP servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from opentelemetry import propagate, trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from rpcb_trio._shown import shown
from rpcb_trio._tracing._api import TEXTS_WITH_BAGGAGE, Attributes, fail, tracer
from rpcb_trio._tracing._clock import Clock

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class Serving:
    """One request over HTTP, and what became of it."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def reached(self, route: str) -> None:
        """Take in which route it is for."""
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.route", route)

    def answered(self, status: int, request_id: str) -> None:
        """Take in the status of its response."""
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("rpcb.request_id", request_id)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(Status(StatusCode.ERROR))


@contextmanager
def serving(
    method: str, path: str, scheme: str, client: str | None, headers: Mapping[str, str]
) -> Iterator[Serving | None]:
    """A SERVER span, below that of the client's `traceparent`; None where there is one around it already."""
    if getattr(trace.get_current_span(), "kind", None) is SpanKind.SERVER:
        yield None
        return
    known = method if method in METHODS else "_OTHER"
    context = propagate.extract(headers, None, TEXTS_WITH_BAGGAGE)
    clock = Clock.of_system()
    name = "HTTP" if known == "_OTHER" else known
    span = tracer().start_span(name, context, SpanKind.SERVER, start_time=clock.now_ns())
    if span.is_recording():
        attributes: Attributes = {"http.request.method": known, "url.path": shown(path), "url.scheme": scheme}
        if client is not None:
            attributes["client.address"] = client
        if "user-agent" in headers:
            attributes["user_agent.original"] = shown(headers["user-agent"])
        span.set_attributes(attributes)
    token = attach(trace.set_span_in_context(span, context))
    try:
        yield Serving(span, known)
    except BaseException as error:
        is_fault = isinstance(error, Exception)
        fail(span, type(error).__name__ if is_fault else "cancelled", "it broke off")
        raise
    finally:
        detach(token)
        span.end(clock.now_ns())
