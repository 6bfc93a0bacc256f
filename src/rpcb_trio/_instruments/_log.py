"""The instrument that writes the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rpcb_trio._errors import BrokerError, OutcomeError
from rpcb_trio._instruments._instrument import Instrument
from rpcb_trio._messages import Answer, Batch, Request, Run, Settled

log = logging.getLogger("rpcb_trio")


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

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:
        """At debug, next to the time the policy had predicted, where it predicts."""
        log.debug(
            "%s: batch %d computed in %.1f ms%s%s",
            self._name,
            batch.id,
            1e3 * seconds,
            "" if batch.predicted is None else f" (predicted {1e3 * batch.predicted:.1f} ms)",
            "" if len(runs) == 1 else f", in {len(runs)} runs",
        )

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
