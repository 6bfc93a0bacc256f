"""The instrument that makes events of a worker's work."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence

import trio

from rpcb_trio._events._buffer import EventBuffer
from rpcb_trio._events._events import (
    LONGEST_CORRELATION_ID,
    LONGEST_NAME,
    LONGEST_REASON,
    MOST_REQUESTS,
    MOST_WAITS,
    BatchEvent,
    StateEvent,
)
from rpcb_trio._instruments import HealthInstrument, Setup, new_start
from rpcb_trio._messages import Answer, Batch, Request, Run, Settled
from rpcb_trio._process_memory import memory_of
from rpcb_trio._shown import shown
from rpcb_trio._tracing import ids_of
from rpcb_trio.errors import BrokerError, CallerCancelled, OutcomeError

BUFFER = 64
"""Events of each kind that may wait to be published. They are published ten times a second, so this also
bounds what they cost a worker with very many small batches; each costs some 0.1 ms."""


class _Computed:
    """A batch between its model and its end, without its items, so that they can leave the memory."""

    def __init__(self, batch: Batch, seconds: float) -> None:
        self.id = batch.id
        self.trigger = batch.trigger
        self.waits = batch.waits
        self.predicted = batch.predicted
        self.version = batch.version
        self.first_arrival = batch.closed - max(self.waits)
        self.requests = tuple(
            ids_of(member.request, LONGEST_CORRELATION_ID) for member in batch.members[:MOST_REQUESTS]
        )
        self.seconds = seconds
        self.unsettled = batch.size
        self.failed = 0


class EventInstrument(HealthInstrument):
    """Puts events into a bounded buffer, for `publish_events`; the oldest are dropped when it is full.

    Args:
        name: the worker's name in the events.
        device: what its model computes on, for the events.
        start: the id of its start, the same as in its audit; a random one without it.
        buffer: how many events of each kind may wait to be published.
    """

    def __init__(
        self,
        name: str = "worker",
        *,
        device: str | None = None,
        start: str | None = None,
        buffer: int = BUFFER,
    ) -> None:
        super().__init__(name)
        self._identity = {
            "worker": _name(name),
            "host": _name(socket.gethostname()),
            "pid": os.getpid(),
            "start": _name(start or new_start()),
            "device": None if device is None else _name(device),
        }
        self.buffer: EventBuffer = EventBuffer(buffer)
        self._setup: Setup | None = None
        self._version: str | None = None
        self._computed: dict[Request, _Computed] = {}
        self._waiting = self._held = 0
        self._received = self._answered = self._failed = self._cancelled = self._batches = 0

    def put_state(self) -> None:
        """Put a `StateEvent` of this moment; before the worker starts there is none."""
        if self._setup is not None:
            self.buffer.put(self._state_event(self._setup))

    def changed(self) -> None:
        self.put_state()

    def worker_starting(self, setup: Setup) -> None:
        super().worker_starting(setup)
        self._setup, self._version = setup, setup.version
        self.put_state()

    def model_swapped(self, version: str | None) -> None:
        self._version = version
        self.put_state()

    def settings_changed(self, changes: Mapping[str, tuple[object, object]], setup: Setup) -> None:  # noqa: ARG002 - the hook's arguments
        self._setup = setup
        self.put_state()

    def worker_stopped(self, left: int) -> None:
        self._forget_all()
        super().worker_stopped(left)

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        self._forget_all()
        super().session_lost(error, retry_in)

    def requests_received(self, requests: Sequence[Request]) -> None:
        self._received += len(requests)
        self._held += len(requests)
        self._waiting += len(requests)

    def request_repeated(self, request: Request) -> None:  # noqa: ARG002 - likewise
        self._waiting -= 1

    def cache_hit(self, request: Request) -> None:  # noqa: ARG002 - likewise
        self._waiting -= 1

    def request_refused(self, request: Request, error: OutcomeError, cost: float | None) -> None:  # noqa: ARG002 - likewise
        self._waiting -= 1

    def batch_closed(self, batch: Batch) -> None:
        self._waiting -= batch.first_of

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:  # noqa: ARG002 - their sum counts
        self._batches += 1
        if batch.first_of < batch.size:
            for member in batch.members:
                self._settle(member.request, is_failed=False)  # with the batch of the piece before it
        computed = _Computed(batch, seconds)
        self._computed.update((member.request, computed) for member in batch.members)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        self._held -= len(answers)
        for answer, ending in zip(answers, settled, strict=True):
            is_cancelled = isinstance(answer.error, CallerCancelled)
            is_failed = (answer.error is not None or ending is Settled.REJECTED) and not is_cancelled
            self._cancelled += is_cancelled
            self._failed += is_failed
            self._answered += not is_failed and not is_cancelled and ending is not Settled.REQUEUED
            self._settle(answer.request, is_failed=is_failed)

    def _settle(self, request: Request, *, is_failed: bool) -> None:
        computed = self._computed.pop(request, None)
        if computed is not None:
            computed.failed += is_failed
            computed.unsettled -= 1
            if not computed.unsettled:  # a batch may be settled in parts
                self.buffer.put(self._batch_event(computed))

    def _forget_all(self) -> None:
        """What was held is the broker's again."""
        self._waiting = self._held = 0
        self._computed.clear()

    def _batch_event(self, computed: _Computed) -> BatchEvent:
        waits = [_ms(wait) for wait in computed.waits]
        return BatchEvent(
            **self._identity,  # type: ignore[arg-type] # its types are those of the event
            queue=self._queue,
            unix=time.time(),
            id=computed.id,
            size=len(waits),
            trigger=computed.trigger,
            wait_mean_ms=round(sum(waits) / len(waits), 3),
            wait_max_ms=max(waits),
            waits_ms=tuple(waits[:: -(-len(waits) // MOST_WAITS)]),
            predicted_ms=None if computed.predicted is None else _ms(computed.predicted),
            version=computed.version,
            service_ms=_ms(computed.seconds),
            total_ms=_ms(trio.current_time() - computed.first_arrival),
            failed=computed.failed,
            waiting=self._waiting,
            requests=computed.requests,
        )

    def _state_event(self, setup: Setup) -> StateEvent:
        health = self.health
        return StateEvent(
            **self._identity,  # type: ignore[arg-type] # likewise
            queue=self._queue,
            unix=time.time(),
            condition=health.condition,
            reason=None if health.reason is None else health.reason[:LONGEST_REASON],
            seconds=round(health.seconds, 3),
            version=self._version,
            policy=_name(setup.policy),
            max_batch_size=setup.max_batch_size,
            executors=setup.executors,
            waiting=self._waiting,
            held=self._held,
            received=self._received,
            answered=self._answered,
            failed=self._failed,
            cancelled=self._cancelled,
            batches=self._batches,
            rss=memory_of(os.getpid()),
            dropped=self.buffer.dropped,
        )

    @property
    def _queue(self) -> str:
        return "" if self._setup is None else _name(self._setup.queue)


def _name(text: str) -> str:
    return shown(text, LONGEST_NAME)[:LONGEST_NAME]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
