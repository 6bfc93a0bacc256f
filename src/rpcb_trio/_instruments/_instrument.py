"""Hooks on the pipeline's events, in the manner of trio's own `Instrument`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Concatenate, ParamSpec

import msgspec

from rpcb_trio._messages import Answer, Batch, Request, Run, Settled
from rpcb_trio.errors import BrokerError, ExecutorHung, OutcomeError, RpcbError

P = ParamSpec("P")

log = logging.getLogger("rpcb_trio")


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker was started with, defaults included."""

    queue: str
    policy: str
    """The name of the policy's class."""
    max_batch_size: int
    max_pending: int | None
    prefetch: int
    executors: int
    """How many batches are computed at once."""
    dead_letter_exchange: str | None = None
    """Where requests go that can't be answered; None where the broker drops them."""
    version: str | None = None
    """Of the model; None where it has none."""
    server: tuple[str, int] | None = None
    """Host and port of the broker; None where the transport does not know them."""


class Instrument:
    """Hooks on a worker's events; override those that you need.

    They are called on the event loop: be quick, and never block. An instrument that raises is logged and
    called no more; the pipeline goes on.
    """

    def worker_starting(self, setup: Setup) -> None:
        """The models begin to warm up. This is a worker's first event."""

    def worker_started(self, setup: Setup) -> None:
        """The models are warm and the first session is open. It is called once."""

    def settings_changed(self, changes: Mapping[str, tuple[object, object]], setup: Setup) -> None:
        """Settings were changed while the worker runs; `changes` has the old and the new value of each."""

    def swap_started(self, version: str | None) -> None:
        """Another version of the model begins to warm up; it is to take the place of the present one."""

    def model_swapped(self, version: str | None) -> None:
        """It has taken the place: every batch from now on is computed by this version."""

    def swap_failed(self, version: str | None, error: Exception) -> None:
        """It could not be warmed up, so the one before it stays."""

    def session_opened(self, queue: str) -> None:
        """A session is open, the first one or a later one: the worker consumes from `queue`."""

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        """The session has ended, and the broker redelivers what it held; the worker reconnects.

        The first attempt is made in `retry_in` seconds. A worker that drains makes none: then it is infinity.
        """

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:
        """No session could be opened in `attempts` attempts; the next one is made in `retry_in` seconds."""

    def session_blocked(self, reason: str) -> None:
        """The broker takes no replies, so they wait; `reason` is its own text (short of memory or disk).

        This lasts until `session_unblocked` or `session_lost`.
        """

    def session_unblocked(self) -> None:
        """The broker takes replies again."""

    def requests_received(self, requests: Sequence[Request]) -> None:
        """Requests were delivered; together where the worker takes several at once, else one by one."""

    def request_repeated(self, request: Request) -> None:
        """A request came again, and gets the reply that it had before (see `remember_replies`)."""

    def cache_hit(self, request: Request) -> None:
        """A request is not computed: it gets the reply to an equal one (see `Cache`)."""

    def cache_missed(self, request: Request) -> None:
        """A request is to be computed, since there is no reply to an equal one that it could get."""

    def cache_changed(self, size: int) -> None:
        """The replies that are kept for equal requests take `size` bytes now."""

    def request_refused(self, request: Request, error: OutcomeError, cost: float | None) -> None:
        """A request is not computed: it can't be decoded, has expired, or is refused; `error` says why.

        `cost` is what `service.cost` returned for it; None where it was not decoded.
        """

    def request_failed(self, request: Request, error: OutcomeError) -> None:
        """A request ends in an error reply."""

    def batch_closed(self, batch: Batch) -> None:
        """A batch was closed; see its `trigger`, its `size` and how long each request waited (`waits`).

        It is computed next, in this very task: an executor's thread sees what is set here in context
        variables.
        """

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:
        """`infer` took `seconds` for a batch, over all its `runs`: several where it was split.

        It is called in the same task as `batch_closed`.
        """

    def replies_encoded(self, answers: Sequence[Answer], seconds: float | None) -> None:
        """Replies are encoded, those of several batches together, and go to the broker next.

        The service's `encode` took `seconds` for all of them; None where it has no such hook.
        """

    def parts_sent(self, parts: Sequence[Answer]) -> None:
        """Parts of replies are confirmed; their requests stay open until `requests_settled`."""

    def executor_hung(self, error: ExecutorHung, batch: Batch | None) -> None:
        """An executor does not return from `batch`, so the worker ends.

        `batch` is None where it is of an earlier session, or where it is the other hooks that don't return.
        """

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        """Replies are confirmed and their requests acked; `settled` says how each one ended, in order."""

    def drain_step(self, step: str) -> None:
        """The drain has come to a step: `stop consuming`, `finish N request(s)`, `drained`.

        With no session to drain the steps are `stop connecting`, `drained`. There is no `drained` where
        requests are left unanswered; `worker_stopped` says how many.
        """

    def worker_stopped(self, left: int) -> None:
        """The worker has ended, for whatever reason. The broker redelivers the `left` unanswered requests."""


class Instruments:
    """Calls every instrument that overrides an event."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments = list(instruments)
        self._listeners: dict[Callable[..., None], list[tuple[Instrument, Callable[..., None]]]] = {}

    def notify(
        self, event: Callable[Concatenate[Instrument, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call `event`, a method of `Instrument`, on each; one that raises is called no more."""
        for instrument, method in self._listening(event):
            try:
                method(*args, **kwargs)
            except Exception as error:
                self._instruments.remove(instrument)
                self._listeners.clear()
                log.log(
                    logging.ERROR,
                    "the instrument %r failed at %s (%s); it is called no more",
                    instrument,
                    event.__name__,
                    error,
                    exc_info=not isinstance(error, OSError),  # a full disk is no fault in the code
                )

    def _listening(self, event: Callable[..., None]) -> list[tuple[Instrument, Callable[..., None]]]:
        found = self._listeners.get(event)
        if found is None:
            found = self._listeners[event] = [
                (instrument, method)
                for instrument in self._instruments
                if getattr(method := getattr(instrument, event.__name__), "__func__", None) is not event
            ]
        return found
