"""What a worker keeps from one session to the next, and how it serves each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import trio

from rpcb_trio._batching import Learned, Policy
from rpcb_trio._instruments import Instrument, Instruments, Setup
from rpcb_trio._messages import Batch
from rpcb_trio._pipeline._answering import Answering
from rpcb_trio._pipeline._cancels import Cancels
from rpcb_trio._pipeline._content_cache import ContentCache
from rpcb_trio._pipeline._generations import Generations
from rpcb_trio._pipeline._hooks import Hooks
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._pipeline._live import Changes, LiveSettings, checked_intake_of, differences
from rpcb_trio._pipeline._stages import Stages
from rpcb_trio._transports import Session, Topology
from rpcb_trio.errors import ExecutorHung, SessionLost


@dataclass(kw_only=True)
class Pipeline:
    """What a worker keeps from one session to the next."""

    generations: Generations
    hooks: Hooks
    decode_threads: int
    live: LiveSettings
    """All that can change, as it is in force."""
    prefetch: int
    max_pending: int | None
    """Both as they ask for."""
    answering: Answering
    ledger: Ledger
    cancels: Cancels
    instruments: Instruments
    journal: Journal
    contents: ContentCache
    server: tuple[str, int] | None = None
    """Host and port of the broker, where they are known."""
    hung: ExecutorHung | None = None
    """Why the worker must end, if it must: the first executor that did not return."""
    stages: Stages | None = None
    """Of the session that is open."""
    begun: int = 0
    """The prefetch with which the session was opened."""
    may_follow: bool = True
    """Whether several workers may consume the queue at a time."""
    learned: Learned = field(default_factory=Learned)
    """Of the batches and the broker, for the prefetch."""

    def setup(self, topology: Topology) -> Setup:
        """What instruments are given."""
        return Setup(
            queue=topology.queue,
            policy=type(self.live["batching"]).__name__,
            max_batch_size=self.live["batching"].max_batch_size,
            max_pending=self.max_pending,
            prefetch=self.prefetch,
            executors=len(self.generations.current.executors),
            version=self.generations.current.version,
            dead_letter_exchange=topology.dead_letter_exchange,
            server=self.server,
        )

    def change(self, settings: LiveSettings) -> Changes:
        """Have other settings from now on, all of them at once or, where one is wrong, none.

        Raises:
            SettingError: one is wrong, or they don't go together.
        """
        before, live = self.live, LiveSettings(**{**self.live, **settings})
        executors = len(self.generations.current.executors)
        intake = checked_intake_of(live, executors)
        if live["batching"] is not before["batching"]:
            live["batching"].succeed(before["batching"])  # a user's own may raise
        self.live, (self.prefetch, self.max_pending) = live, intake
        self.answering = replace(
            self.answering, drop_expired=live["expired"] == "drop", max_reply_size=live["max_reply_size"]
        )
        self.answering.remembered.limit(live["remember_replies"])
        self._change_cache(before)
        self.generations.change(max_body_size=live["max_body_size"])
        self.hooks.timeout = live["hook_timeout"]
        if self.stages is not None:
            self.stages.change()
        return differences(before, live)

    def _change_cache(self, before: LiveSettings) -> None:
        if self.live["max_reply_size"] != before["max_reply_size"]:
            self.contents.clear()  # a reply that is kept may be too large now
        self.contents.change(self.live["cache"])
        self.instruments.notify(Instrument.cache_changed, self.contents.size)

    @property
    def follows(self) -> bool:
        """Whether the prefetch follows what the next batches need, where others consume the queue.

        To refuse requests, or to serve them by their tenants, a worker must hold them.
        """
        live = self.live
        return (
            self.may_follow
            and live["prefetch_follows"]
            and live["max_pending"] is None
            and live["shares"] is None
            and type(live["batching"]).demand is not Policy.demand
        )

    @property
    def first_prefetch(self) -> int:
        """That of a session which is opened now."""
        has_company = trio.current_time() < self.learned.company_until
        if not (has_company and self.follows and self.learned.follows):
            return self.prefetch
        return min(
            self.prefetch, self.live["batching"].max_batch_size * len(self.generations.current.executors)
        )

    def forget(self) -> None:
        """Have what batches take learned anew."""
        self.live["batching"].forget()

    async def run(self, session: Session, draining: trio.Event) -> None:
        """Serve one session until it is drained, or an executor hangs.

        Raises:
            SessionLost: in an exception group, as soon as the session is lost; what was held is redelivered.
        """
        self.ledger.open_session(session.requests)
        async with trio.open_nursery() as watchers:
            watchers.start_soon(session.watch)
            watchers.start_soon(self._report_blockages, session)
            watchers.start_soon(self._stop_when_draining, session, draining)
            watchers.start_soon(self._end_if_hooks_hang, watchers.cancel_scope)
            if self.cancels.is_on:
                watchers.start_soon(self._take_cancels, session)
            self.stages = Stages(self, session)
            watchers.start_soon(self.stages.follow)
            try:
                await self.stages.run()
            finally:
                self.stages = None
                self.generations.session_ended()
                self.cancels.end_session()
                session.requeue(self.ledger.idle())
            if not (draining.is_set() or self.hung):  # else it would end in silence, and consume no more
                raise SessionLost("its deliveries ended, though the worker does not drain")
            watchers.cancel_scope.cancel()

    async def _stop_when_draining(self, session: Session, draining: trio.Event) -> None:
        await draining.wait()
        self.instruments.notify(Instrument.drain_step, "stop consuming")
        await session.stop_consuming()
        self.instruments.notify(Instrument.drain_step, f"finish {len(self.ledger)} request(s)")

    async def _report_blockages(self, session: Session) -> None:
        async for reason in session.blockages:
            if reason is None:
                self.instruments.notify(Instrument.session_unblocked)
            else:
                self.instruments.notify(Instrument.session_blocked, reason)

    async def _take_cancels(self, session: Session) -> None:
        async for call in session.cancels:
            self.cancels.take(call)

    async def _end_if_hooks_hang(self, session_scope: trio.CancelScope) -> None:
        self.end_for(await self.hooks.overrun(), None)
        session_scope.cancel()

    def end_for(self, error: ExecutorHung, batch: Batch | None) -> None:
        """Note why the worker must end."""
        self.hung = self.hung or error
        self.instruments.notify(Instrument.executor_hung, error, batch)
