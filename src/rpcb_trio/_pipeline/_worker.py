"""The worker loop: session after session, until it is drained.

How a worker drains, in steps:

1. `Worker.drain()` is called; from here `drain_timeout` counts. An attempt to connect, or the wait for the
   next one, ends at once: without a session nothing is held.
2. The session stops consuming, so `session.requests` ends.
3. The stages run dry in order: what is decoded is batched, a partial batch is flushed, replies are confirmed
   and their requests acked.
4. The stages' nursery ends, the session closes its connections, and `serve` returns.

What the deadline cuts off is unacked, so the broker redelivers it. A session that is lost while it drains is
not opened again; the broker redelivers what was left.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Unpack

import trio

from rpcb_trio._backoff import Lost, keep_connected
from rpcb_trio._executors import Executor
from rpcb_trio._instruments import Instrument, Setup
from rpcb_trio._pipeline._generations import Generations
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._pipeline._live import Changes, LiveSettings, refuse_others
from rpcb_trio._pipeline._pipeline import Pipeline
from rpcb_trio._service import AnyService
from rpcb_trio._transports import Session, Topology, Transport
from rpcb_trio.errors import DrainTimeout, SettingError, first_leaf


class Worker:
    """A running worker, as `open_worker` yields it and `serve` hands it to `task_status.started`."""

    def __init__(
        self,
        ledger: Ledger,
        generations: Generations,
        drain: Callable[[], None],
        change: Callable[[LiveSettings], Awaitable[Changes]],
    ) -> None:
        self._ledger = ledger
        self._generations = generations
        self._drain = drain
        self._change = change

    @property
    def held(self) -> int:
        """How many requests were delivered to it and are not yet settled."""
        return len(self._ledger)

    @property
    def version(self) -> str | None:
        """Of the model that computes now; None where it has none."""
        return self._generations.current.version

    async def swap(
        self,
        service: AnyService,
        *,
        version: str | None = None,
        executors: Sequence[Executor] | None = None,
        unload_first: bool = False,
    ) -> None:
        """Put another version of the service in the place of the present one, without losing a request.

        The new one is made and warmed up beside the present one, which serves meanwhile. Then it takes over
        between two batches: those that have begun end as they began, all later ones are computed by the new
        one. Requests that wait and were decoded by the former are decoded anew, so that no batch has items of
        two services; what the new one can't decode gets its error `decode`. The policy forgets its service
        times. This returns once the former one's last batch is encoded, and its hook `close` has run.

        Swaps are one at a time, in the order they are asked for. A lost session does them no harm. Cancelled
        while the new one warms up, it changes nothing.

        Two models are in memory meanwhile. Where there is no room for two, `unload_first` has the present one
        unloaded before the new one is loaded, as soon as its batches have ended. Until then no batch is
        computed: requests wait, in the worker up to the prefetch, and in the queue. If the new one can't be
        loaded, the former one is warmed up again.

        Args:
            service: as for `serve`: an object, a class or a plain function. A class, or a
                `functools.partial` of one, is made in a thread, so that the event loop goes on.
            version: of the new model; the service's attribute `version` if left out.
            executors: new ones for it, as many as there are; needed where `serve` was given `executors`. By
                default the new service gets threads, on the same devices.
            unload_first: whether to unload the present model first. It needs a process executor, or the hook
                `close`.

        Raises:
            SettingError: an argument is wrong, or the service is none. The present one stays.
            WarmUpFailed: its `__init__`, `on_device` or `warm_up` raised, or took longer than
                `warm_up_timeout`. The present one stays.
            ExecutorLost: its process died while it warmed up. The present one stays.
            SwapInterrupted: the worker drains or has ended. What it holds, the present one answers.
        """
        await self._generations.swap(service, version, executors, unload_first=unload_first)

    def drain(self) -> None:
        """Take no more requests, answer those that are held, then let `serve` return.

        Calling it again changes nothing.
        """
        self._drain()

    async def change(self, **settings: Unpack[LiveSettings]) -> Changes:
        """Have other settings from the next request and the next batch on; the requests that are held stay.

        It takes these arguments of `serve`: `batching`, `prefetch`, `prefetch_follows`, `max_pending`,
        `shares`, `expired`, `no_reply_to`, `max_body_size`, `max_reply_size`, `check_caller`,
        `remember_replies`, `cache`, `hook_timeout`, `batch_headers`, `drain_timeout`. What is left out stays
        as it is. A new policy takes over what the earlier one has learned (`Policy.succeed`), and is asked at
        once where that one holds a batch.

            await worker.change(batching=AutoPolicy(16), max_pending=64)

        Returns:
            What is another value now, by name: as it was, and as it is. A policy is told by its own settings.

        Raises:
            SettingError: one of them is wrong, or can't be changed, or they don't go together; then nothing
                was changed.
        """
        refuse_others(settings)
        return await self._change(settings)


class WorkerLoop:
    """Runs a pipeline over session after session, and observes these for `keep_connected`."""

    def __init__(
        self,
        pipeline: Pipeline,
        transport: Transport,
        topology: Topology,
        *,
        task_status: trio.TaskStatus[Worker],
    ) -> None:
        self._pipeline = pipeline
        self._transport = transport
        self._topology = topology
        self._task_status = task_status
        self._notify = pipeline.instruments.notify
        self._draining = trio.Event()
        self._all = trio.CancelScope()
        self._connecting = trio.CancelScope()
        """Cancelled when a drain finds no session open."""
        self._has_started = self._is_open = False

    @property
    def _drain_timeout(self) -> float:
        return self._pipeline.live["drain_timeout"]

    async def change(self, settings: LiveSettings) -> Changes:
        """See `Worker.change`."""
        changes = self._pipeline.change(settings)
        if changes:
            setup = self._pipeline.setup(self._topology)
            self._notify(Instrument.settings_changed, changes, setup)
        await trio.lowlevel.checkpoint()
        return changes

    def drain(self) -> None:
        if self._draining.is_set():
            return
        self._draining.set()
        self._pipeline.generations.drain()
        self._all.deadline = trio.current_time() + self._drain_timeout
        if not self._is_open:
            self._notify(Instrument.drain_step, "stop connecting")
            self._connecting.cancel()

    async def run(self, setup: Setup) -> None:
        """Open a session and hand out the worker; then serve it, and those that follow it, until drained.

        Raises:
            LoginRefused, TopologyMismatch, SessionLost: the first session could not be opened.
            SettingError: a setting is wrong for any broker.
            DrainTimeout: the drain took too long, and something was left.
            ExecutorHung: an executor does not come back.
        """
        self._setup = setup
        wrong: SettingError | None = None
        try:
            with self._all, self._connecting:
                await keep_connected(self._open_session, self._serve, self)
        except* SettingError as group:
            wrong = first_leaf(group)
        if wrong is not None:
            raise wrong
        if self._pipeline.hung is not None:
            raise self._pipeline.hung
        left = len(self._pipeline.ledger)
        if not left:
            self._notify(Instrument.drain_step, "drained")
        elif self._all.cancelled_caught:
            raise DrainTimeout(self._drain_timeout, left)

    def _open_session(self) -> AbstractAsyncContextManager[Session]:
        self._pipeline.begun = self._pipeline.first_prefetch
        return self._transport.open_session(self._topology, prefetch=self._pipeline.begun)

    async def _serve(self, session: Session) -> None:
        await self._pipeline.run(session, self._draining)

    def opened(self) -> None:
        """See `ConnectionObserver`."""
        self._is_open = True
        if not self._has_started:
            self._has_started = True
            self._notify(Instrument.worker_started, self._setup)
            self._task_status.started(
                Worker(self._pipeline.ledger, self._pipeline.generations, self.drain, self.change)
            )
        self._notify(Instrument.session_opened, self._topology.queue)

    def lost(self, lost: Lost) -> None:
        """See `ConnectionObserver`."""
        was_open, self._is_open = self._is_open, False
        if self._pipeline.hung is not None or self._draining.is_set():  # what it held is counted at the end
            self._connecting.cancel()
            if was_open and self._pipeline.hung is None:
                self._notify(Instrument.session_lost, lost.error, math.inf)
        elif was_open:
            self._pipeline.ledger.lose_session()
            self._notify(Instrument.session_lost, lost.error, lost.retry_in)
        else:
            self._notify(Instrument.reconnect_failed, lost.error, lost.retry_in, lost.failed)
