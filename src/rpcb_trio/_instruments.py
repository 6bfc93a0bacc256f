"""Hooks on the pipeline's events, in the manner of trio's own `Instrument`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Concatenate, ParamSpec

from rpcb_trio._errors import BrokerError, OutcomeError
from rpcb_trio._messages import Answer, Batch, Request, Settled

P = ParamSpec("P")

log = logging.getLogger("rpcb_trio")


class Instrument:
    """Override the events you want. They are called on the event loop: be quick, and never block.

    An instrument that raises is logged and called no more; the pipeline goes on.
    """

    def session_opened(self, queue: str) -> None:
        """The worker consumes from `queue`."""

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        """The session is over; the next attempt is made in `retry_in` seconds."""

    def request_received(self, request: Request) -> None:
        """A request was delivered."""

    def request_failed(self, request: Request, error: OutcomeError) -> None:
        """A request ends in an error reply."""

    def batch_closed(self, batch: Batch) -> None:
        """A batch was closed; it knows its trigger, its size and how long each request waited."""

    def batch_computed(self, batch: Batch, seconds: float) -> None:
        """`infer` took `seconds` for a batch, retries of its parts included."""

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        """Replies are confirmed and their requests acked; `settled` tells how each one ended, in order."""

    def drain_step(self, step: str) -> None:
        """Draining has come to a step: `stop consuming`, `finish N request(s)`, `drained`."""


class Instruments:
    """Calls every instrument that overrides an event."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments = list(instruments)

    def notify(
        self, event: Callable[Concatenate[Instrument, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call `event`, a method of `Instrument`, on each; one that raises is dropped."""
        name = event.__name__
        for instrument in tuple(self._instruments):
            method = getattr(instrument, name)
            if getattr(method, "__func__", None) is event:
                continue
            try:
                method(*args, **kwargs)
            except Exception:
                self._instruments.remove(instrument)
                log.exception("the instrument %r failed at %s; it is called no more", instrument, name)


class LogInstrument(Instrument):
    """Writes the worker's life to the logger `rpcb_trio`: sessions and drain steps, and batches at debug."""

    def __init__(self, name: str = "worker") -> None:
        self._name = name

    def session_opened(self, queue: str) -> None:
        """One line per session."""
        log.info("%s: consuming from queue %s", self._name, queue)

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        """One line per lost session."""
        log.warning("%s: session lost (%s); next attempt in %.1f s", self._name, error, retry_in)

    def request_failed(self, request: Request, error: OutcomeError) -> None:
        """One line per failed request, with the cause, and the traceback at debug."""
        log.warning(
            "%s: request %r of %r answered with an error (%s): %s%s",
            self._name,
            request.correlation_id,
            request.reply_to,
            error.code,
            error,
            _caused_by(error),
            exc_info=error if log.isEnabledFor(logging.DEBUG) else None,
        )

    def batch_closed(self, batch: Batch) -> None:
        """At debug."""
        log.debug(
            "%s: batch %d closed by %s with %d request(s), longest wait %.1f ms",
            self._name,
            batch.id,
            batch.trigger,
            batch.size,
            1e3 * max(batch.waits),
        )

    def batch_computed(self, batch: Batch, seconds: float) -> None:
        """At debug."""
        log.debug("%s: batch %d computed in %.1f ms", self._name, batch.id, 1e3 * seconds)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        """Only what did not end with a reply to its producer."""
        for answer, ending in zip(answers, settled, strict=True):
            if ending is not Settled.REPLIED:
                request = answer.request
                log.log(
                    logging.WARNING if ending is Settled.REJECTED else logging.INFO,
                    "%s: reply to %r of %r: %s",
                    self._name,
                    request.correlation_id,
                    request.reply_to,
                    ending,
                )

    def drain_step(self, step: str) -> None:
        """One line per step."""
        log.info("%s: drain: %s", self._name, step)


def _caused_by(error: OutcomeError) -> str:
    cause = error.__cause__
    return "" if cause is None else f" <- {type(cause).__name__}: {cause}"
