"""What of OpenTelemetry other rooms use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import attach, detach, get_value

from rpcb_trio._messages import Outgoing, Request
from rpcb_trio._tracing._api import OF_A_BATCH, TEXTS, Attributes, of_server
from rpcb_trio._tracing._clock import Clock
from rpcb_trio._tracing._processing import Processing
from rpcb_trio._tracing._sending import Sending, sending
from rpcb_trio._tracing._serving import Serving, serving


class Spans:
    """What of it other rooms use."""

    @property
    def is_on(self) -> bool:
        """Whether spans are recorded: an SDK is set up."""
        provider = trace.get_tracer_provider()
        return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)

    def carried(self) -> dict[str, str] | None:
        """The current span as headers, for another process; None where there is none."""
        if not trace.get_current_span().get_span_context().is_valid:
            return None
        carrier = dict[str, str]()
        propagate.inject(carrier)
        return carrier

    def of_batch(self) -> dict[str, str] | None:
        """The span of the batch that this task computes as headers, for its replies."""
        return None if get_value(OF_A_BATCH) is None else self.carried()

    def calls_matter(self) -> bool:
        """Whether there is anything to record of a call, or to pass on with it."""
        return self.is_on or trace.get_current_span().get_span_context().is_valid

    def processing(
        self,
        queue: str,
        requests: Sequence[Request],
        *,
        now: float,
        until: float,
        attributes: Attributes,
        server: tuple[str, int] | None,
    ) -> Processing:
        """See `Processing`; `now` is what the worker's clock says, `until` when the batch was closed."""
        own = attributes | of_server(server)
        return Processing(queue, requests, Clock(now), until=until, attributes=own)

    @contextmanager
    def continuing(self, carrier: Mapping[str, object]) -> Iterator[None]:
        """Make what headers name the current span."""
        token = attach(propagate.extract(carrier, None, TEXTS))
        try:
            yield
        finally:
            detach(token)

    def current_ids(self) -> dict[str, str]:
        """The ids of the current span, as fields of a line of the log."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }

    def serving(
        self, method: str, path: str, scheme: str, client: str | None, headers: Mapping[str, str]
    ) -> AbstractContextManager[Serving | None]:
        """See `serving`."""
        return serving(method, path, scheme, client, headers)

    def sending(self, request: Outgoing, server: tuple[str, int] | None) -> AbstractContextManager[Sending]:
        """See `sending`."""
        return sending(request, server)
