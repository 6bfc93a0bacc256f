"""The stages of the pipeline: each is one task, fed by a channel and feeding the next.

    session.requests ─▶ receive ─▶ pending ─▶ batch ─▶ batches ─▶ compute ─▶ computed ─▶ reply ─▶ settle
                           └── refused, failed ─┴──────── expired ────────────────┘

Every task has its own clone of each channel end it uses, so a stage ends when all that feed it have ended:
draining is nothing but the end of `session.requests`. No channel has a bound of its own: what the broker
leaves unacked bounds them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from rpcb_trio._batching import Batcher, Intake, Prefetching
from rpcb_trio._instruments import Instrument
from rpcb_trio._messages import Batch, Failure, Pending
from rpcb_trio._pipeline._admission import Admission
from rpcb_trio._pipeline._computing import Computing
from rpcb_trio._pipeline._live import rules_of
from rpcb_trio._pipeline._prefetching import Follower
from rpcb_trio._pipeline._receiving import Receiving
from rpcb_trio._pipeline._replying import Replying
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._pipeline._shared import Outcomes, Shared
from rpcb_trio._transports import Session
from rpcb_trio.errors import OutcomeError

if TYPE_CHECKING:
    from rpcb_trio._pipeline._pipeline import Pipeline


class Stages:
    """The stages of one session."""

    def __init__(self, pipeline: Pipeline, session: Session) -> None:
        self._pipeline = pipeline
        self._session = session
        self._rule = self._prefetching()
        self._follower = Follower(session, self._rule, self._ask_again)
        self._shared = Shared(pipeline, session, self._rule, self._follower)
        self._batcher: Batcher
        self._admission: Admission

    async def run(self) -> None:
        """Run them until all that the session delivered is settled."""
        shared = self._shared
        executors = len(self._pipeline.generations.current.executors)
        send_pending, pending = trio.open_memory_channel[Sequence[Pending]](math.inf)
        send_batches, batches = trio.open_memory_channel[Batch](executors)
        send_computed, computed = trio.open_memory_channel[Outcomes](math.inf)
        async with trio.open_nursery() as shared.nursery, trio.open_nursery() as shared.intake:
            # The receiving ends stay open to the end: a stage that is cut must not break those that feed it.
            with send_pending, send_batches, send_computed:
                refused = send_computed.clone()
                self._batcher = batcher = Batcher(
                    pending.clone(),
                    send_batches.clone(),
                    idle=shared.idle,
                    policy=self._pipeline.live["batching"],
                    refuse=partial(self._refuse, refused),
                    shares=self._pipeline.live["shares"],
                    max_pending=self._pipeline.max_pending,
                    held_back=self._held_back,
                    holds=self._holds,
                    told=self._rule.arrived,
                )
                self._admission = admission = Admission(
                    self._session,
                    self._pipeline.answering.remembered,
                    shared.flights,
                    self._pipeline.journal,
                    rules=rules_of(self._pipeline.live, self._pipeline.max_pending),
                    batcher=batcher,
                )
                receiving = Receiving(shared, admission, batcher)
                computing, replying = Computing(shared, batcher), Replying(shared)
                receiving.start(self._session.requests, send_pending, send_computed)
                shared.intake.start_soon(self.batch, batcher, refused)
                for slot in range(executors):
                    shared.nursery.start_soon(computing.compute, slot, batches.clone(), send_computed.clone())
                for _ in range(executors + 1):  # one encodes while others await confirms
                    shared.nursery.start_soon(replying.reply, computed.clone())

    async def follow(self) -> None:
        """Let the prefetch follow what the batches need.

        Raises:
            SessionLost: the session is.
        """
        await self._follower.run()

    def _prefetching(self) -> Prefetching:
        pipeline = self._pipeline
        return Prefetching(
            Intake(lambda: len(pipeline.ledger), self._count_waiting, self._session.room),
            lambda: pipeline.live["batching"],
            executors=len(pipeline.generations.current.executors),
            most=pipeline.prefetch,
            is_set=not pipeline.follows,
            begun=pipeline.begun,
            learned=pipeline.learned,
        )

    def _ask_again(self) -> None:
        self._batcher.ask_again()

    def _count_waiting(self) -> int:
        unread = self._session.requests.statistics().current_buffer_used
        return unread + self._admission.decoding + self._batcher.backlog

    def _held_back(self) -> float:
        """Until when what was asked for belongs into the next batch."""
        rule = self._rule
        if not rule.follows or trio.current_time() >= rule.hold_until:
            return -math.inf
        is_full = self._batcher.backlog >= self._pipeline.live["batching"].max_batch_size
        return -math.inf if is_full else rule.hold_until

    def _holds(self) -> None:
        if self._rule.holds():
            self._follower.wake()

    def change(self) -> None:
        """Have the settings that the pipeline has now."""
        live, max_pending = self._pipeline.live, self._pipeline.max_pending
        self._admission.rules = rules_of(live, max_pending)
        self._shared.flights.shares = live["shares"]
        self._batcher.change(live["batching"], live["shares"], max_pending)
        self._rule.change(most=self._pipeline.prefetch, is_set=not self._pipeline.follows)
        self._follower.wake()

    async def batch(self, batcher: Batcher, refused: trio.MemorySendChannel[Outcomes]) -> None:
        """Run the batcher; it sends what will not be computed straight to its answer."""
        with refused, self._pipeline.cancels.withdrawing(batcher.withdraw):
            await batcher.run()

    def _refuse(
        self, refused: trio.MemorySendChannel[Outcomes], pending: Pending, error: OutcomeError
    ) -> None:
        if pending.since is None:  # else one of its pieces was computed
            self._pipeline.instruments.notify(
                Instrument.request_refused, pending.request, error, pending.cost
            )
        if pending.rest is not None:
            pending.rest.end(Resolved(pending.request, Failure(error)))
            return
        generation = self._pipeline.generations.current
        generation.uses.begin()
        refused.send_nowait(Outcomes(generation, [Resolved(pending.request, Failure(error))]))
