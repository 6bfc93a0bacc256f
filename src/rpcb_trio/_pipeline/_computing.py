"""The stage between batches and replies: an executor computes one batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import trio

from rpcb_trio._batching import Batcher
from rpcb_trio._executors import Streaming
from rpcb_trio._instruments import Instrument
from rpcb_trio._messages import Batch, Failure, Outcome, Pending, wants_parts
from rpcb_trio._pipeline._batch_headers import headers_of
from rpcb_trio._pipeline._cancels import cancelled
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._isolation import Isolation
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._pipeline._shared import Outcomes, Shared
from rpcb_trio._pipeline._streaming import StreamingBatch
from rpcb_trio.errors import ExecutorHung, Overloaded

SETTLE_GRACE = 5.0
"""Seconds, once an executor hangs, for what others compute and what is computed to be answered."""


class Computing:
    """Computes batches.

    Args:
        shared: by the stages.
        batcher: is told what the batches took.
    """

    def __init__(self, shared: Shared, batcher: Batcher) -> None:
        self._shared = shared
        self._batcher = batcher
        self._idle = shared.idle
        self._intake = shared.intake
        self._nursery = shared.nursery
        self._session = shared.session
        self._rule = shared.rule
        self._follower = shared.follower
        self._flights = shared.flights
        self._pipeline = shared.pipeline
        self._instruments = shared.pipeline.instruments
        self._journal = shared.pipeline.journal
        self._ledger = shared.pipeline.ledger
        self._generations = shared.pipeline.generations
        self._cancels = shared.pipeline.cancels

    async def compute(
        self,
        slot: int,
        batches: trio.MemoryReceiveChannel[Batch],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Take one batch whenever the executor is idle.

        Where it hangs, nothing more is started: what has not started goes back to the broker with the
        session's end.
        """
        with batches, computed:
            async with trio.open_nursery() as late:  # for parts that are late: `computed` stays open for them
                await self._compute_batches(slot, batches, computed, late)

    async def _compute_batches(
        self,
        slot: int,
        batches: trio.MemoryReceiveChannel[Batch],
        computed: trio.MemorySendChannel[Outcomes],
        late: trio.Nursery,
    ) -> None:
        closed: Batch | None = None
        try:
            while True:
                await (await self._generations.batching()).executors[slot].idle()
                self._journal.note(slot, ())  # what an earlier session left there has come to its end
                self._idle.release()
                closed = await batches.receive()
                await self._compute_batch(closed, slot, computed, late)
                closed = None
        except trio.EndOfChannel:
            return
        except ExecutorHung as error:
            self._pipeline.end_for(error, closed)
            self._intake.cancel_scope.cancel()
            self._nursery.cancel_scope.deadline = trio.current_time() + SETTLE_GRACE

    async def _compute_batch(
        self,
        closed: Batch,
        slot: int,
        computed: trio.MemorySendChannel[Outcomes],
        late: trio.Nursery,
    ) -> None:
        generation = await self._generations.serving()  # it may be another one than when the batch was closed
        generation.uses.begin()  # the outcomes end it
        running = [member.request for member in closed.members]
        self._ledger.begin(running)
        batch = await self._of_one_version(closed, generation, computed)
        if batch is not None and self._cancels.is_on:
            batch = self._without_given_up(batch, generation, computed)
        if batch is None:
            generation.uses.end()
            return
        if self._rule.closed(batch, trio.current_time()):
            self._follower.wake()
        self._instruments.notify(Instrument.batch_closed, batch)
        equal = self._flights.board(batch.members, generation) if self._flights else {}
        executor = generation.executors[slot]
        started, paused, teaches = trio.current_time(), 0.0, True
        if generation.streams and isinstance(executor, Streaming) and any(map(wants_parts, running)):
            streaming = self._streaming(batch, executor, slot, generation, computed, late=late)
            with self._given_up_by_callers(streaming):
                await self._stream(streaming)
            runs, paused, teaches = streaming.runs, streaming.paused, generation.service.streams_only
            generation.uses.end()
        else:
            isolation = Isolation(executor, self._journal, slot, generation.decoding.given)
            outcomes = await isolation.infer_once(batch.members, equal)
            whole = _resolve(batch, outcomes, self._headers_of(batch))
            if whole:
                computed.send_nowait(Outcomes(generation, whole))
            else:
                generation.uses.end()
            runs = isolation.runs
        self._ledger.end(running)
        # What it took says nothing of a model that has taken over meanwhile, nor parts of whole replies.
        is_told = teaches and generation is self._generations.current
        self._batcher.completed(batch, runs if is_told else ())
        now = trio.current_time()
        seconds = now - started - paused
        if self._rule.completed(batch, seconds, now):
            self._follower.wake()
        self._instruments.notify(Instrument.batch_computed, batch, seconds, tuple(runs))
        self._journal.note(slot, ())  # only now: what follows from a batch may crash it, too

    def _streaming(
        self,
        batch: Batch,
        executor: Streaming,
        slot: int,
        generation: Generation,
        computed: trio.MemorySendChannel[Outcomes],
        *,
        late: trio.Nursery,
    ) -> StreamingBatch:
        finish = partial(self._shared.finish, generation, computed)
        sender = self._shared.sender(generation.encoding, finish, late)
        return StreamingBatch(
            batch,
            executor,
            generation,
            sender,
            headers=self._headers_of(batch),
            finish=finish,
            journal=self._journal,
            slot=slot,
        )

    def _headers_of(self, batch: Batch) -> list[Mapping[str, object]]:
        return headers_of(batch, batch_headers=self._pipeline.live["batch_headers"])

    @contextmanager
    def _given_up_by_callers(self, streaming: StreamingBatch) -> Iterator[None]:
        """Have its items given up, within the body, whose callers cancel them."""
        if not self._cancels.is_on:
            yield
            return
        calls = [(item.request, partial(streaming.give_up, item, cancelled())) for item in streaming.items]
        for request, call in calls:
            self._cancels.on_cancel(request, call)
        try:
            yield
        finally:  # a request in pieces goes on, and must not keep all batches that it was in
            for request, call in calls:
                self._cancels.off_cancel(request, call)

    async def _stream(self, streaming: StreamingBatch) -> None:
        """Compute it, and watch the callers meanwhile."""
        failed: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(streaming.watch_callers, self._session.has_caller)
            try:
                await streaming.compute()
            except Exception as error:  # noqa: BLE001 - raised again below, out of the group
                failed = error
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _of_one_version(
        self, batch: Batch, generation: Generation, computed: trio.MemorySendChannel[Outcomes]
    ) -> Batch | None:
        """The batch as this version of the service computes it; None where that refuses all in it.

        What another version has decoded is decoded anew, as it would be after a redelivery.
        """
        if generation.version is not None:
            batch = msgspec.structs.replace(batch, version=generation.version)
        number = generation.number
        if all(member.generation == number for member in batch.members):
            return batch
        batch = self._without_former_pieces(batch, number)
        decoded: list[Pending | Failure] = list(batch.members)

        async def decode(place: int, member: Pending) -> None:
            anew = await generation.decoding.decode(member.request, suspect=member.suspect)
            if isinstance(anew, Pending) and anew.rest is not None:
                await generation.decoding.close_pieces(anew)
                anew = Failure(Overloaded("the model was swapped meanwhile; send the request again"))
            decoded[place] = anew

        async with trio.open_nursery() as nursery:
            for place, member in enumerate(batch.members):
                if member.generation != number:
                    nursery.start_soon(decode, place, member)
        undecodable = [
            Resolved(member.request, each)
            for member, each in zip(batch.members, decoded, strict=True)
            if isinstance(each, Failure)
        ]
        self._refuse_several(undecodable, generation, computed)
        members = tuple(each for each in decoded if isinstance(each, Pending))
        return msgspec.structs.replace(batch, members=members) if members else None

    def _without_former_pieces(self, batch: Batch, number: int) -> Batch:
        """The batch without the pieces that another version has decoded: their requests begin anew."""
        former = [each for each in batch.members if each.rest is not None and each.generation != number]
        for each in former:
            self._ledger.end([each.request])
            each.rest.end(None)
        return msgspec.structs.replace(
            batch, members=tuple(each for each in batch.members if each not in former)
        )

    def _without_given_up(
        self, batch: Batch, generation: Generation, computed: trio.MemorySendChannel[Outcomes]
    ) -> Batch | None:
        """The batch without those that were cancelled since it was closed; None where that is all."""
        given_up = [member for member in batch.members if member.request in self._cancels]
        if not given_up:
            return batch
        whole = list[Resolved]()
        for member in given_up:
            resolved = Resolved(member.request, Failure(cancelled()))
            if member.rest is None:
                whole.append(resolved)
            else:
                self._ledger.end([member.request])
                self._shared.notify_refused([resolved])
                member.rest.end(resolved)
        self._refuse_several(whole, generation, computed)
        members = tuple(member for member in batch.members if member not in given_up)
        return msgspec.structs.replace(batch, members=members) if members else None

    def _refuse_several(
        self, refused: Sequence[Resolved], generation: Generation, computed: trio.MemorySendChannel[Outcomes]
    ) -> None:
        if refused:
            self._ledger.end([each.request for each in refused])
            self._shared.notify_refused(refused)
            generation.uses.begin()
            computed.send_nowait(Outcomes(generation, refused))


def _resolve(
    batch: Batch, outcomes: Sequence[Outcome[Any]], headers: Sequence[Mapping[str, object]]
) -> list[Resolved]:
    """What is to be answered; the pieces among it go to the requests that they are of."""
    whole = list[Resolved]()
    for member, outcome, about_batch in zip(batch.members, outcomes, headers, strict=True):
        resolved = Resolved(member.request, outcome, about_batch)
        if member.rest is None:
            whole.append(resolved)
        else:
            member.rest.end(resolved)
    return whole
