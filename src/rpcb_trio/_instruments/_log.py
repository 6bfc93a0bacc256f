"""The instrument that writes the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import trio

from rpcb_trio._instruments._instrument import Instrument, Setup
from rpcb_trio._messages import Answer, Batch, Request, Run, Settled, shown_address
from rpcb_trio._shown import shown
from rpcb_trio._tracing import ids_of, request_id_in
from rpcb_trio.errors import BrokerError, CallerCancelled, ExecutorHung, HooksHung, OutcomeError, RpcbError

log = logging.getLogger("rpcb_trio")

MOST_NAMED = 10
"""Requests of one batch that are named in a line."""
MOST_PLACES = 100
"""Places in a service's code whose frames are shown once each."""
MOST_REASONS = 16
"""Of one outage, that are worth a line each; a reason may change with each attempt."""

ENDINGS = {
    Settled.NO_REPLY_TO: "it has no reply_to, so its result was dropped",
    Settled.UNROUTABLE: "the reply queue is gone, so the reply was dropped",
    Settled.REJECTED: "the request was rejected",
    Settled.REQUEUED: "the broker refused the reply, so the request was requeued",
    Settled.DROPPED: "the request was dropped without a reply",
}
"""What became of a request that was settled without a reply."""
CANCELLED = "its caller has cancelled it, so it was dropped"


class LogInstrument(Instrument):
    """Writes a worker's sessions, failures and drain steps to the logger `rpcb_trio`.

    At debug also its batches, and which requests are in them.

    Each record has `worker` and `queue` among its attributes, and, of what it tells of, `correlation_id`,
    `request_id`, `trace_id`, `code` (an error's) and `batch` (its id).

    Args:
        name: how each line begins.
    """

    def __init__(self, name: str = "worker") -> None:
        self._name = name
        self._queue: str | None = None
        self._outage: _Outage | None = None
        self._places: set[tuple[str, str | None]] = set()

    def worker_starting(self, setup: Setup) -> None:
        self._queue = setup.queue

    def worker_started(self, setup: Setup) -> None:
        if setup.dead_letter_exchange is None:
            log.warning(
                "%s: no dead_letter_exchange is set (--dead-letter-exchange), so requests that can't be "
                "answered are dropped, unless the queue has a policy for them",
                self._name,
                extra=self._fields(),
            )

    def settings_changed(self, changes: Mapping[str, tuple[object, object]], setup: Setup) -> None:  # noqa: ARG002 - the hook's arguments
        for name, values in changes.items():
            before, after = ("not set" if each is None else each for each in values)
            text = "%s: %s changed from %s to %s"
            log.info(text, self._name, name, before, after, extra=self._fields())

    def swap_started(self, version: str | None) -> None:
        log.info("%s: swap: %s warms up", self._name, _model(version), extra=self._fields())

    def model_swapped(self, version: str | None) -> None:
        text = "%s: swap: %s computes all batches from now on"
        log.info(text, self._name, _model(version), extra=self._fields())

    def swap_failed(self, version: str | None, error: Exception) -> None:
        """A warning with the hook and the place; the traceback at debug."""
        log.warning(
            "%s: swap: %s does not take over, and the one before it stays: %s",
            self._name,
            _model(version),
            error,
            extra=self._fields(),
        )
        log.debug("%s: the traceback", self._name, exc_info=error)

    def session_opened(self, queue: str) -> None:
        """One line per session; after an outage also how long it took."""
        again = "" if self._outage is None else f"reconnected after {self._outage}; "
        self._outage = None
        log.info("%s: %sconsuming from queue %s", self._name, again, queue, extra=self._fields())

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        self._outage = _Outage()
        then = "it is not opened again"
        if not math.isinf(retry_in):
            then = f"next attempt in {retry_in:.1f} s"
        log.warning("%s: session lost (%s); %s", self._name, error, then, extra=self._fields())

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:
        """A warning for the 1st, 2nd, 4th, 8th, ... attempt and for each new reason; else a line at debug."""
        self._outage = self._outage or _Outage()
        log.log(
            logging.WARNING if self._outage.failed(attempts, str(error)) else logging.DEBUG,
            "%s: can't reach the broker (%s), attempt %d; next attempt in %.1f s",
            self._name,
            error,
            attempts,
            retry_in,
            extra=self._fields(),
        )

    def session_blocked(self, reason: str) -> None:
        text = "%s: blocked: the broker takes no replies (%s); they wait"
        log.warning(text, self._name, reason, extra=self._fields())

    def session_unblocked(self) -> None:
        log.info("%s: the broker takes replies again", self._name, extra=self._fields())

    def request_repeated(self, request: Request) -> None:
        text = "%s: %s came again, and gets its reply again"
        log.debug(text, self._name, _named(request), extra=self._fields_of(request))

    def cache_hit(self, request: Request) -> None:
        if log.isEnabledFor(logging.DEBUG):
            text = "%s: %s gets the reply to an equal one"
            log.debug(text, self._name, _named(request), extra=self._fields_of(request))

    def request_failed(self, request: Request, error: OutcomeError) -> None:
        """One line per failed request, with the cause and its place in the service's code.

        What is the request's own fault is at info. The service's own frames follow where a place fails for
        the first time; later they are at debug, and so are those of an error that the service raised to
        refuse the request.
        """
        level = logging.INFO if error.kind == "request" else logging.WARNING
        log.log(
            level,
            "%s: %s %s (%s): %s",  # one text for all, so that a flood of them is one
            self._name,
            _named(request),
            "failed" if request.reply_to is None else "is answered with an error",
            error.code,
            error.in_full,
            extra=self._fields_of(request, code=error.code),
        )
        if not (error.cause and self._is_new_place(error)):
            level = logging.DEBUG
        if log.isEnabledFor(level):
            for line in error.frames.splitlines():
                log.log(level, "%s:   %s", self._name, line, extra=self._fields_of(request, code=error.code))

    def _is_new_place(self, error: OutcomeError) -> bool:
        place = (error.code, error.where)
        if place in self._places or len(self._places) >= MOST_PLACES:
            return False
        self._places.add(place)
        return True

    def batch_closed(self, batch: Batch) -> None:
        """At debug a line, and one for each of its requests."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "%s: batch %d closed by %s with %d request(s), longest wait %.1f ms",
                self._name,
                batch.id,
                batch.trigger,
                batch.size,
                1e3 * max(batch.waits),
                extra=self._fields(batch=batch.id),
            )
            for request in (member.request for member in batch.members):
                fields = self._fields_of(request, batch=batch.id)
                log.debug("%s: %s is in batch %d", self._name, _named(request), batch.id, extra=fields)

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:
        """A line at debug, with the time that the policy had predicted, where it predicts."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "%s: batch %d computed in %.1f ms%s%s",
                self._name,
                batch.id,
                1e3 * seconds,
                "" if batch.predicted is None else f" (predicted {1e3 * batch.predicted:.1f} ms)",
                "" if len(runs) == 1 else f", in {len(runs)} runs",
                extra=self._fields(batch=batch.id),
            )

    def executor_hung(self, error: ExecutorHung, batch: Batch | None) -> None:
        """One line, which names the batch and its first requests."""
        fields = self._fields() if batch is None else self._fields(batch=batch.id)
        if isinstance(error, HooksHung):
            log.error("%s: %s", self._name, error, extra=fields)
        else:
            log.error("%s: an executor hangs on %s: %s", self._name, _contents(batch), error, extra=fields)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        """A line for each that ended without a reply; the transport logs why one was rejected.

        At debug where its caller has cancelled it.
        """
        for answer, ending in zip(answers, settled, strict=True):
            if ending is not Settled.REPLIED:
                is_cancelled = isinstance(answer.error, CallerCancelled)
                log.log(
                    logging.DEBUG if is_cancelled else logging.INFO,
                    "%s: %s: %s (%s)",
                    self._name,
                    _named(answer.request),
                    CANCELLED if is_cancelled else ENDINGS.get(ending, ending),
                    ending,
                    extra=self._fields_of(answer.request, code=str(ending)),
                )

    def drain_step(self, step: str) -> None:
        log.info("%s: drain: %s", self._name, step, extra=self._fields())

    def worker_stopped(self, left: int) -> None:
        if left:
            text = "%s: stopped with %d request(s) unanswered; the broker redelivers them"
            log.warning(text, self._name, left, extra=self._fields())

    def _fields(self, **more: object) -> dict[str, object]:
        return {"worker": self._name, "queue": self._queue, **more}

    def _fields_of(self, request: Request, **more: object) -> dict[str, object]:
        return self._fields(**ids_of(request).as_fields(), **more)


def _model(version: str | None) -> str:
    return "the new model" if version is None else f"version {version}"


def _named(request: Request) -> str:
    of = "without reply_to" if request.reply_to is None else f"of {shown_address(request.reply_to)}"
    request_id = request_id_in(request.headers)
    also = "" if request_id is None else f" (request id {request_id})"
    return f"request {request.correlation_id!r}{also} {of}"


def _contents(batch: Batch | None) -> str:
    if batch is None:
        return "a batch of an earlier session"
    names = [repr(member.request.correlation_id) for member in batch.members[:MOST_NAMED]]
    more = "" if batch.size <= MOST_NAMED else f" and {batch.size - MOST_NAMED} more"
    return f"batch {batch.id} of {batch.size} request(s), with the correlation ids {', '.join(names)}{more}"


class _Outage:
    """The time between two sessions. `str` of it says how long it was, in attempts and seconds."""

    def __init__(self) -> None:
        self._since = trio.current_time()
        self._failed = 0
        self._reasons: set[str] = set()

    def failed(self, attempts: int, reason: str) -> bool:
        """Enter the failed attempt of this number; True if it is worth a line."""
        self._failed = attempts
        reason = shown(reason)
        is_new = reason not in self._reasons and len(self._reasons) < MOST_REASONS
        if is_new:
            self._reasons.add(reason)
        return is_new or attempts & (attempts - 1) == 0

    def __str__(self) -> str:
        return f"{self._failed + 1} attempt(s) ({trio.current_time() - self._since:.1f} s)"
