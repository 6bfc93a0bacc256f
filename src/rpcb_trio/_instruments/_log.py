"""The instrument that writes the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from rpcb_trio._errors import BrokerError, ExecutorHung, HooksHung, OutcomeError, RpcbError
from rpcb_trio._instruments._instrument import Instrument, Setup
from rpcb_trio._instruments._outage import Outage
from rpcb_trio._messages import Answer, Batch, Request, Run, Settled, shown_address
from rpcb_trio._shown import shown

log = logging.getLogger("rpcb_trio")

MOST_NAMED = 10
"""Requests of one batch that are named in a line."""
MOST_PLACES = 100
"""Places in a service's code whose frames are shown once each."""


class LogInstrument(Instrument):
    """Writes the worker's life to the logger `rpcb_trio`: sessions and drain steps, and batches at debug."""

    def __init__(self, name: str = "worker") -> None:
        self._name = name
        self._outage: Outage | None = None
        self._places: set[tuple[str, str | None]] = set()

    def worker_started(self, setup: Setup) -> None:
        """Only where requests that can't be answered would be lost."""
        if setup.dead_letter_exchange is None:
            log.warning(
                "%s: no dead_letter_exchange is set: what can't be answered is dropped, or goes by a policy",
                self._name,
            )

    def session_opened(self, queue: str) -> None:
        """One line per session; after an outage also how long it took."""
        again = "" if self._outage is None else f"reconnected after {self._outage}; "
        self._outage = None
        log.info("%s: %sconsuming from queue %s", self._name, again, queue)

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        """One line per lost session."""
        self._outage = Outage()
        todo = "it is not opened again" if math.isinf(retry_in) else f"next attempt in {retry_in:.1f} s"
        log.warning("%s: session lost (%s); %s", self._name, error, todo)

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:
        """The first line of an outage, then ever fewer; a new reason is a line at once."""
        self._outage = self._outage or Outage()
        worth_a_line = self._outage.failed(attempts, str(error))
        log.log(
            logging.WARNING if worth_a_line else logging.DEBUG,
            "%s: can't reach the broker (%s), attempt %d; next attempt in %.1f s",
            self._name,
            error,
            attempts,
            retry_in,
        )

    def session_blocked(self, reason: str) -> None:
        """One line."""
        log.warning("%s: blocked: the broker takes no replies (%s); they wait", self._name, reason)

    def session_unblocked(self) -> None:
        """One line."""
        log.info("%s: the broker takes replies again", self._name)

    def request_repeated(self, request: Request) -> None:
        """At debug."""
        log.debug(
            "%s: request %r of %s came again, and gets its reply again",
            self._name,
            request.correlation_id,
            shown_address(request.reply_to),
        )

    def request_failed(self, request: Request, error: OutcomeError) -> None:
        """One line per failed request, with the cause and its place in the service's code.

        What is the request's own fault is at info. The service's own frames follow where a place fails for
        the first time; later they are at debug.
        """
        level = logging.INFO if error.kind == "request" else logging.WARNING
        log.log(
            level,
            "%s: request %r of %s %s (%s): %s%s",
            self._name,
            request.correlation_id,
            shown_address(request.reply_to),
            "failed, and names nobody to tell" if request.reply_to is None else "answered with an error",
            error.code,
            shown(str(error)),
            error.origin,
            extra={"kind": error.code},
        )
        if not self._is_new_place(error):
            level = logging.DEBUG
        if log.isEnabledFor(level):
            for line in error.frames.splitlines():
                log.log(level, "%s:   %s", self._name, line, extra={"kind": error.code})

    def _is_new_place(self, error: OutcomeError) -> bool:
        place = (error.code, error.where)
        if place in self._places or len(self._places) >= MOST_PLACES:
            return False
        self._places.add(place)
        return True

    def batch_closed(self, batch: Batch) -> None:
        """At debug."""
        if not log.isEnabledFor(logging.DEBUG):
            return
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
        if not log.isEnabledFor(logging.DEBUG):
            return
        log.debug(
            "%s: batch %d computed in %.1f ms%s%s",
            self._name,
            batch.id,
            1e3 * seconds,
            "" if batch.predicted is None else f" (predicted {1e3 * batch.predicted:.1f} ms)",
            "" if len(runs) == 1 else f", in {len(runs)} runs",
        )

    def executor_hung(self, error: ExecutorHung, batch: Batch | None) -> None:
        """One line, which names the batch and its first requests."""
        if isinstance(error, HooksHung):
            log.error("%s: %s", self._name, error)
        else:
            log.error("%s: an executor hangs on %s: %s", self._name, _named(batch), error)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        """Only what did not end with a reply; the transport tells why one was rejected."""
        for answer, ending in zip(answers, settled, strict=True):
            if ending is not Settled.REPLIED:
                request = answer.request
                log.info(
                    "%s: reply to %r of %s: %s",
                    self._name,
                    request.correlation_id,
                    shown_address(request.reply_to),
                    ending,
                    extra={"kind": ending},
                )

    def drain_step(self, step: str) -> None:
        """One line per step."""
        log.info("%s: drain: %s", self._name, step)

    def worker_stopped(self, left: int) -> None:
        """Only where something is left."""
        if left:
            log.warning(
                "%s: stopped with %d request(s) unanswered; the broker redelivers them", self._name, left
            )


def _named(batch: Batch | None) -> str:
    if batch is None:
        return "a batch of an earlier session"
    names = [repr(member.request.correlation_id) for member in batch.members[:MOST_NAMED]]
    more = "" if batch.size <= MOST_NAMED else f" and {batch.size - MOST_NAMED} more"
    return f"batch {batch.id} of {batch.size} request(s), with the correlation ids {', '.join(names)}{more}"
