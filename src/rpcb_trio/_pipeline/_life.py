"""A worker's life: session after session, until it is drained.

How a worker drains, in steps:

1. `Worker.drain()` is called; from here `drain_timeout` counts. An attempt to connect, or the wait for the
   next one, ends at once: without a session nothing is held.
2. The session stops consuming, so `session.requests` ends.
3. The stages run dry in order: what is decoded is batched, a partial batch is flushed, replies are confirmed
   and their requests acked.
4. The stages' nursery ends, the session closes its connections, and `serve` returns.

What the deadline cuts off is unacked, so the broker redelivers it. A session that is lost while it drains is
not opened again; the broker has taken back what was left.
"""

from __future__ import annotations

import math

import trio

from rpcb_trio._backoff import Backoff
from rpcb_trio._errors import BrokerError, DrainTimeout, SettingError, first_leaf
from rpcb_trio._instruments import Instrument, Setup
from rpcb_trio._pipeline._wiring import Pipeline
from rpcb_trio._transports import Topology, Transport


class Worker:
    """A running worker, as `serve` hands it out through `task_status.started`."""

    def __init__(self, life: Life) -> None:
        self._life = life

    @property
    def held(self) -> int:
        """How many requests were delivered to it and are not yet settled."""
        return self._life.held

    def drain(self) -> None:
        """Take no more requests, answer those that are held, then let `serve` return.

        Calling it again changes nothing.
        """
        self._life.drain()


class Life:
    """Runs a pipeline over session after session."""

    def __init__(
        self,
        pipeline: Pipeline,
        transport: Transport,
        topology: Topology,
        *,
        drain_timeout: float,
        task_status: trio.TaskStatus[Worker],
    ) -> None:
        self._pipeline = pipeline
        self._transport = transport
        self._topology = topology
        self._drain_timeout = drain_timeout
        self._task_status = task_status
        self._notify = pipeline.instruments.notify
        self._draining = trio.Event()
        self._all = trio.CancelScope()
        self._connecting: trio.CancelScope | None = None
        self._has_started = False
        self._opened: float | None = None
        """When the session was opened, as `trio.current_time()`; None while there is none."""

    @property
    def held(self) -> int:
        """How many requests were delivered and are not yet settled."""
        return len(self._pipeline.ledger)

    def drain(self) -> None:
        """See `Worker.drain`."""
        if self._draining.is_set():
            return
        self._draining.set()
        self._all.deadline = trio.current_time() + self._drain_timeout
        if self._opened is None:
            self._notify(Instrument.drain_step, "stop connecting")
        if self._connecting is not None:
            self._connecting.cancel()

    async def run(self, setup: Setup) -> None:
        """Open a session and hand out the worker; then serve it, and those that follow it, until drained.

        Raises:
            LoginRefused, TopologyMismatch, SessionLost, SettingError: there was no first session to be had.
            DrainTimeout: the drain took too long, and something was left.
            ExecutorHung: an executor does not come back.
        """
        with self._all:
            await self._serve_sessions(setup)
        if not self.held:
            self._notify(Instrument.drain_step, "drained")
        elif self._all.cancelled_caught:
            raise DrainTimeout(self._drain_timeout, self.held)

    async def _serve_sessions(self, setup: Setup) -> None:
        waits = Backoff()
        failed = 0
        while not self._draining.is_set():
            lost = await self._serve_session(setup)
            opened, self._opened = self._opened, None
            if self._pipeline.hung:
                raise self._pipeline.hung[0]
            if lost is None:
                return
            if not self._has_started:
                raise lost
            delay = waits.after(0 if opened is None else trio.current_time() - opened)
            if opened is not None:
                failed = 0
                self._tell_loss(lost, delay)
            elif not self._draining.is_set():
                failed += 1
                self._notify(Instrument.reconnect_failed, lost, delay, failed)
            with trio.move_on_after(delay):
                await self._draining.wait()

    async def _serve_session(self, setup: Setup) -> BrokerError | None:
        """Open a session and serve it; returns why it was lost or not to be had, None if it was drained.

        Raises:
            SettingError: a setting can't be right for any broker, so that another attempt would not help.
        """
        lost: BrokerError | None = None
        wrong: SettingError | None = None
        try:
            with trio.CancelScope() as attempt:
                self._connecting = attempt
                async with self._transport.open_session(
                    self._topology, prefetch=self._pipeline.prefetch
                ) as session:
                    self._connecting = None
                    self._tell_opening(setup)
                    await self._pipeline.run(session, self._draining)
        except* BrokerError as group:
            lost = first_leaf(group)
        except* SettingError as group:
            wrong = first_leaf(group)
        finally:
            self._connecting = None
        if wrong is not None:
            raise wrong
        return lost

    def _tell_opening(self, setup: Setup) -> None:
        self._opened = trio.current_time()
        if not self._has_started:
            self._has_started = True
            self._notify(Instrument.worker_started, setup)
            self._task_status.started(Worker(self))
        self._notify(Instrument.session_opened, self._topology.queue)

    def _tell_loss(self, lost: BrokerError, delay: float) -> None:
        if self._draining.is_set():
            self._notify(Instrument.session_lost, lost, math.inf)  # what it held is counted when all is over
        else:
            self._pipeline.ledger.lose_session()
            self._notify(Instrument.session_lost, lost, delay)
