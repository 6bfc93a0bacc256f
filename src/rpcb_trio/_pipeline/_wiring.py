"""How the stages of one session are connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from rpcb_trio._batching import Batcher, Policy
from rpcb_trio._errors import ExecutorHung, SessionLost
from rpcb_trio._executors import Executor
from rpcb_trio._instruments import Instrument, Instruments, Setup
from rpcb_trio._messages import Answer, Batch, Pending, Settled
from rpcb_trio._pipeline import _stages as stages
from rpcb_trio._pipeline._admission import Admission, Rules
from rpcb_trio._pipeline._answering import Answering
from rpcb_trio._pipeline._codec import Codec
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._transports import Session, Topology

SETTLE_GRACE = 5.0
"""Seconds, once an executor hangs, for what others compute and what is computed to be answered."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """All that a worker keeps from one session to the next."""

    codec: Codec
    receivers: int
    executors: Sequence[Executor]
    policy: Policy
    prefetch: int
    rules: Rules
    answering: Answering
    ledger: Ledger
    instruments: Instruments
    journal: Journal
    hung: list[ExecutorHung] = field(default_factory=list)
    """Why the worker must end: executors that will not come back."""

    def setup(self, topology: Topology) -> Setup:
        """What instruments are told of it."""
        return Setup(
            queue=topology.queue,
            policy=type(self.policy).__name__,
            max_batch_size=self.policy.max_batch_size,
            max_pending=self.rules.max_pending,
            prefetch=self.prefetch,
            executors=len(self.executors),
            dead_letter_exchange=topology.dead_letter_exchange,
        )

    async def run(self, session: Session, draining: trio.Event) -> None:
        """Serve one session until it is drained, or an executor hangs.

        Raises:
            SessionLost: in an exception group, as soon as the session is lost; what was held is redelivered.
        """
        self.ledger.open_session(session.requests)
        async with trio.open_nursery() as watchers:
            watchers.start_soon(session.watch)
            watchers.start_soon(self._tell_blockages, session)
            watchers.start_soon(self._stop_when_draining, session, draining)
            watchers.start_soon(self._end_if_hooks_hang, watchers.cancel_scope)
            try:
                await self._run_stages(session)
            finally:
                session.give_back(self.ledger.idle())
            if not (draining.is_set() or self.hung):  # else it would end in silence, and consume no more
                raise SessionLost("its deliveries ended, though the worker does not drain")
            watchers.cancel_scope.cancel()

    async def _stop_when_draining(self, session: Session, draining: trio.Event) -> None:
        await draining.wait()
        self.instruments.notify(Instrument.drain_step, "stop consuming")
        await session.stop_consuming()
        self.instruments.notify(Instrument.drain_step, f"finish {len(self.ledger)} request(s)")

    async def _tell_blockages(self, session: Session) -> None:
        async for reason in session.blockages:
            if reason is None:
                self.instruments.notify(Instrument.session_unblocked)
            else:
                self.instruments.notify(Instrument.session_blocked, reason)

    async def _end_if_hooks_hang(self, session_scope: trio.CancelScope) -> None:
        error = await self.codec.hooks.overrun()
        self.hung.append(error)
        self.instruments.notify(Instrument.executor_hung, error, None)
        session_scope.cancel()

    def _tell_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        self.ledger.settle([answer.request for answer in answers])
        self.instruments.notify(Instrument.requests_settled, answers, settled)

    async def _run_stages(self, session: Session) -> None:
        idle = trio.Semaphore(0)
        send_pending, pending = trio.open_memory_channel[Sequence[Pending]](self.prefetch)
        send_batches, batches = trio.open_memory_channel[Batch](len(self.executors))
        send_computed, computed = trio.open_memory_channel[stages.Outcomes](self.prefetch)

        settle = partial(stages.settle, session=session, answering=self.answering, tell=self._tell_settled)

        def give_up(error: ExecutorHung) -> None:
            """Start nothing more: what has not started goes back to the broker with the session's end."""
            self.hung.append(error)
            intake.cancel_scope.cancel()
            nursery.cancel_scope.deadline = trio.current_time() + SETTLE_GRACE

        async with trio.open_nursery() as nursery, trio.open_nursery() as intake:
            # The receiving ends stay open to the end: a stage that is cut must not break those that feed it.
            with send_pending, send_batches, send_computed:
                refused = send_computed.clone()
                batcher = Batcher(
                    pending.clone(),
                    send_batches.clone(),
                    idle=idle,
                    policy=self.policy,
                    refuse=partial(stages.refuse, refused, self.instruments),
                )
                admission = Admission(
                    self.codec,
                    session,
                    self.answering.remembered,
                    rules=self.rules,
                    backlog=lambda: batcher.backlog,
                )
                for _ in range(self.receivers):
                    intake.start_soon(
                        partial(
                            stages.receive,
                            session.requests.clone(),
                            send_pending.clone(),
                            send_computed.clone(),
                            admission=admission,
                            instruments=self.instruments,
                            journal=self.journal,
                            ledger=self.ledger,
                        )
                    )
                intake.start_soon(stages.batch, batcher, refused)
                for slot, executor in enumerate(self.executors):
                    nursery.start_soon(
                        partial(
                            stages.compute,
                            batches.clone(),
                            send_computed.clone(),
                            executor=executor,
                            codec=self.codec,
                            batcher=batcher,
                            idle=idle,
                            give_up=give_up,
                            instruments=self.instruments,
                            journal=self.journal,
                            ledger=self.ledger,
                            slot=slot,
                        )
                    )
                for _ in range(len(self.executors) + 1):  # one encodes while others await confirms
                    nursery.start_soon(
                        partial(
                            stages.reply,
                            computed.clone(),
                            session=session,
                            answering=self.answering,
                            tell=self._tell_settled,
                            settle_later=partial(nursery.start_soon, settle),
                        )
                    )
