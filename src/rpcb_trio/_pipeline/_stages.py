"""The stages of the pipeline: each is one task, fed by a channel and feeding the next.

    session.requests ─▶ receive ─▶ pending ─▶ batch ─▶ batches ─▶ compute ─▶ computed ─▶ reply ─▶ settle
                           └── refused, failed ─┴──────── expired ────────────────┘

Every task has its own clone of each channel end it uses, so a stage ends when all that feed it have ended:
draining is nothing but the end of `session.requests`. No channel has a bound of its own: what the broker
leaves unacked bounds them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import trio

from rpcb_trio._batching import Batcher, Intake, Prefetching
from rpcb_trio._executors import Streaming
from rpcb_trio._instruments import Instrument
from rpcb_trio._messages import Answer, Batch, Failure, Pending, Request, Settled, Success, wants_parts
from rpcb_trio._pipeline._admission import Admission
from rpcb_trio._pipeline._cancels import cancelled
from rpcb_trio._pipeline._codec import Codec, Resolved
from rpcb_trio._pipeline._content_cache import answer_with, is_hit
from rpcb_trio._pipeline._flights import Flight, Flights, Way
from rpcb_trio._pipeline._isolation import Isolation
from rpcb_trio._pipeline._live import rules_of
from rpcb_trio._pipeline._part_sender import PartSender, Stream
from rpcb_trio._pipeline._pieces import InPieces
from rpcb_trio._pipeline._prefetching import Follower
from rpcb_trio._pipeline._streaming import StreamingBatch
from rpcb_trio._transports import Rest, Session
from rpcb_trio.errors import ExecutorHung, OutcomeError, Overloaded

if TYPE_CHECKING:
    from rpcb_trio._pipeline._pipeline import Pipeline

T = TypeVar("T")


class Outcomes(msgspec.Struct, frozen=True):
    """Requests with what becomes of them, ready to be encoded by the service that computed them."""

    codec: Codec
    several: Sequence[Resolved | Answer]


class Onward(msgspec.Struct, frozen=True):
    """Where what is admitted goes."""

    pending: trio.MemorySendChannel[Sequence[Pending]]
    computed: trio.MemorySendChannel[Outcomes]

    def clone(self) -> Onward:
        return Onward(self.pending.clone(), self.computed.clone())


SETTLE_GRACE = 5.0
"""Seconds, once an executor hangs, for what others compute and what is computed to be answered."""


class Stages:
    """The stages of one session, with what they share."""

    def __init__(self, pipeline: Pipeline, session: Session) -> None:
        self._pipeline = pipeline
        self._session = session
        self._instruments = pipeline.instruments
        self._journal = pipeline.journal
        self._ledger = pipeline.ledger
        self._generations = pipeline.generations
        self._cancels = pipeline.cancels
        self._flights = Flights(
            pipeline.contents,
            pipeline.live["shares"],
            missed=lambda request: self._instruments.notify(Instrument.cache_missed, request),
        )
        self._receivers = self._receiving = 0
        self._idle = trio.Semaphore(0)
        self._rule = self._prefetching()
        self._follower = Follower(session, self._rule, self._ask_again)
        self._caught_up = trio.lowlevel.ParkingLot()
        self._batcher: Batcher
        self._admission: Admission
        self._nursery: trio.Nursery
        self._intake: trio.Nursery
        """For the stages that take in what has not started; inside the other."""

    async def run(self) -> None:
        """Run them until all that the session delivered is settled."""
        executors = len(self._generations.current.executors)
        send_pending, pending = trio.open_memory_channel[Sequence[Pending]](math.inf)
        send_batches, batches = trio.open_memory_channel[Batch](executors)
        send_computed, computed = trio.open_memory_channel[Outcomes](math.inf)
        async with trio.open_nursery() as self._nursery, trio.open_nursery() as self._intake:
            # The receiving ends stay open to the end: a stage that is cut must not break those that feed it.
            with send_pending, send_batches, send_computed:
                refused = send_computed.clone()
                self._batcher = batcher = Batcher(
                    pending.clone(),
                    send_batches.clone(),
                    idle=self._idle,
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
                    self._flights,
                    self._journal,
                    rules=rules_of(self._pipeline.live, self._pipeline.max_pending),
                    batcher=batcher,
                )
                self._start_receivers(admission, self._session.requests, send_pending, send_computed)
                self._intake.start_soon(self.batch, batcher, refused)
                for slot in range(executors):
                    self._nursery.start_soon(
                        self.compute, slot, batcher, batches.clone(), send_computed.clone()
                    )
                for _ in range(executors + 1):  # one encodes while others await confirms
                    self._nursery.start_soon(self.reply, computed.clone())

    async def follow(self) -> None:
        """Let the prefetch follow what the batches need.

        Raises:
            SessionLost: the session is.
        """
        await self._follower.run()

    def _prefetching(self) -> Prefetching:
        pipeline = self._pipeline
        return Prefetching(
            Intake(lambda: len(self._ledger), self._count_waiting, self._session.room),
            lambda: pipeline.live["batching"],
            executors=len(self._generations.current.executors),
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
        self._flights.shares = live["shares"]
        self._batcher.change(live["batching"], live["shares"], max_pending)
        self._rule.change(most=self._pipeline.prefetch, is_set=not self._pipeline.follows)
        self._follower.wake()

    def _start_receivers(
        self,
        admission: Admission,
        requests: trio.MemoryReceiveChannel[Request],
        pending: trio.MemorySendChannel[Sequence[Pending]],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Have one for each thread that decodes; without `decode` a single one keeps the order."""
        takes_bodies = self._generations.current.codec.takes_bodies
        while self._receivers < (1 if takes_bodies else self._pipeline.decode_threads):
            self._receivers += 1
            self._receiving += 1
            self._intake.start_soon(
                self.receive, admission, requests.clone(), pending.clone(), computed.clone()
            )

    async def receive(
        self,
        admission: Admission,
        requests: trio.MemoryReceiveChannel[Request],
        pending: trio.MemorySendChannel[Sequence[Pending]],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Decode each delivery; one that is refused or can't be decoded goes straight to its answer."""
        onward = Onward(pending, computed)
        with requests, pending, computed:
            async for first in requests:
                # What needs no decoding goes on at once: turns of the scheduler for each cost a fifth more.
                takes_bodies = self._generations.current.codec.takes_bodies
                taken = [first, *_at_hand(requests)] if takes_bodies else [first]
                if not takes_bodies:  # the one before it may have taken them
                    self._start_receivers(admission, requests, pending, computed)
                await self._admit(taken, admission, onward)
                del first, taken  # while it waits for the next, it keeps no body that is settled by then
        self._receiving -= 1
        if not self._receiving:
            self._batcher.flush()

    def _pass_on(self, admitted: Sequence[Pending | Resolved | Answer], codec: Codec, onward: Onward) -> None:
        first = admitted[0]
        if isinstance(first, Pending) and first.rest is not None:  # it comes alone, as all that is decoded
            its = onward.clone()
            self._intake.start_soon(self.in_pieces, first, codec, its.pending, its.computed)
            return
        if self._cancels.is_on:
            admitted = self._without_cancelled(admitted)
        waiting = [each for each in admitted if isinstance(each, Pending)]
        if waiting:
            onward.pending.send_nowait(waiting)
        if len(waiting) < len(admitted):
            answered = [each for each in admitted if not isinstance(each, Pending)]
            self._notify_refused(answered)
            codec.uses.begin()
            onward.computed.send_nowait(Outcomes(codec, answered))

    async def _admit(self, taken: Sequence[Request], admission: Admission, onward: Onward) -> None:
        # All are held from here on, though the session may be lost while one waits to be admitted.
        suspects = self._ledger.receive(taken)
        self._instruments.notify(Instrument.requests_received, taken)
        codec = self._generations.current.codec
        if self._cancels.is_on and (early := self._cancels.enter(taken)):
            self._pass_on([Answer(request, None, cancelled()) for request in early], codec, onward)
            taken = [request for request in taken if request not in self._cancels]
            if not taken:
                return
        if not suspects and admission.is_prompt(taken, codec):
            self._pass_on(admission.admit_promptly(taken, codec), codec, onward)
            return
        for request in taken:
            await self._admit_one(request, admission, onward, suspect=request in suspects)

    async def _admit_one(
        self,
        request: Request,
        admission: Admission,
        onward: Onward,
        *,
        suspect: bool = False,
        way: Way = Way.ANY,
    ) -> None:
        codec = (await self._generations.serving()).codec
        codec.uses.begin()
        self._ledger.begin([request])
        admitted = await admission.admit(request, codec, suspect=suspect, way=way)
        if not isinstance(admitted, Flight):
            self._pass_on([admitted], codec, onward)
        elif len(admitted.followers) == 1:
            self._intake.start_soon(self.await_flight, admitted, admission, onward.clone())
        self._ledger.end([request])
        codec.uses.end()

    async def await_flight(self, flight: Flight, admission: Admission, onward: Onward) -> None:
        """Once a flight is over, have those who followed answered, or go on without it."""
        with onward.pending, onward.computed:
            await flight.over()
            codec = self._generations.current.codec
            given_up = [each for each in flight.followers if each in self._cancels]
            if given_up:
                self._pass_on([Answer(each, None, cancelled()) for each in given_up], codec, onward)
            followers = [each for each in flight.followers if each not in given_up]
            if flight.reply is not None:
                answers = [answer_with(flight.reply, each) for each in followers]
                if answers:
                    self._pass_on(answers, codec, onward)
                return
            async with trio.open_nursery() as nursery:
                for each in followers:
                    nursery.start_soon(partial(self._admit_one, each, admission, onward, way=flight.way))

    async def in_pieces(
        self,
        first: Pending,
        codec: Codec,
        pending: trio.MemorySendChannel[Sequence[Pending]],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Have a request computed piece by piece, then answer it."""

        async def serving() -> Codec:
            return (await self._generations.serving()).codec

        stream = Stream(first.request) if wants_parts(first.request) else None
        with pending, computed:
            async with trio.open_nursery() as late:

                async def send_part(codec: Codec, part: Success[Any]) -> None:
                    assert stream is not None  # noqa: S101 - for the type checker
                    sender = self._sender(codec, partial(self._finish, codec, computed), late)
                    await sender.send([(stream, part)], has_turn=False)
                    await sender.catch_up([stream])

                pieces = InPieces(
                    first,
                    codec,
                    serving=serving,
                    ledger=self._ledger,
                    send=partial(self._send_piece, pending),
                    stream=stream,
                    send_part=send_part,
                )
                codec, resolved = await pieces.run()
                if pieces.is_refused:
                    self._notify_refused([resolved])
                finish = partial(self._finish, codec, computed)
                if stream is None:
                    finish(resolved)
                    return
                if stream.ending is None:
                    stream.end(pieces.ending_of(resolved), codec)
                self._sender(codec, finish, late).finish([stream])

    def _send_piece(self, pending: trio.MemorySendChannel[Sequence[Pending]], piece: Pending) -> None:
        if self._cancels.is_on:
            if piece.request in self._cancels:
                piece.rest.end(Resolved(piece.request, Failure(cancelled())))
                return
            self._cancels.wait([piece])
        pending.send_nowait([piece])

    def _without_cancelled(
        self, admitted: Sequence[Pending | Resolved | Answer]
    ) -> Sequence[Pending | Resolved | Answer]:
        """Admit none that was cancelled while it was decoded; the others can be withdrawn from now on."""
        kept: list[Pending | Resolved | Answer] = []
        for each in admitted:
            if isinstance(each, Pending) and each.request in self._cancels:
                kept.append(Answer(each.request, None, cancelled()))
            else:
                kept.append(each)
        self._cancels.wait(each for each in kept if isinstance(each, Pending))
        return kept

    def _notify_refused(self, answered: Sequence[Resolved | Answer]) -> None:
        for each in answered:
            if each.error is None:
                is_shared = isinstance(each, Answer) and is_hit(each)
                event = Instrument.cache_hit if is_shared else Instrument.request_repeated
                self._instruments.notify(event, each.request)
            else:
                self._instruments.notify(Instrument.request_refused, each.request, each.error, None)

    async def batch(self, batcher: Batcher, refused: trio.MemorySendChannel[Outcomes]) -> None:
        """Run the batcher; it sends what will not be computed straight to its answer."""
        with refused, self._cancels.withdrawing(batcher.withdraw):
            await batcher.run()

    def _refuse(
        self, refused: trio.MemorySendChannel[Outcomes], pending: Pending, error: OutcomeError
    ) -> None:
        if pending.since is None:  # else one of its pieces was computed
            self._instruments.notify(Instrument.request_refused, pending.request, error, pending.cost)
        if pending.rest is not None:
            pending.rest.end(Resolved(pending.request, Failure(error)))
            return
        codec = self._generations.current.codec
        codec.uses.begin()
        refused.send_nowait(Outcomes(codec, [Resolved(pending.request, Failure(error))]))

    async def compute(
        self,
        slot: int,
        batcher: Batcher,
        batches: trio.MemoryReceiveChannel[Batch],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Take one batch whenever the executor is idle.

        Where it hangs, nothing more is started: what has not started goes back to the broker with the
        session's end.
        """
        with batches, computed:
            async with trio.open_nursery() as late:  # for parts that are late: `computed` stays open for them
                await self._compute_batches(slot, batcher, batches, computed, late)

    async def _compute_batches(
        self,
        slot: int,
        batcher: Batcher,
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
                await self._compute_batch(closed, slot, batcher, computed, late)
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
        batcher: Batcher,
        computed: trio.MemorySendChannel[Outcomes],
        late: trio.Nursery,
    ) -> None:
        generation = await self._generations.serving()  # it may be another one than when the batch was closed
        codec = generation.codec
        codec.uses.begin()  # the outcomes end it
        running = [member.request for member in closed.members]
        self._ledger.begin(running)
        batch = await self._of_one_version(closed, codec, computed)
        if batch is not None and self._cancels.is_on:
            batch = self._without_given_up(batch, codec, computed)
        if batch is None:
            codec.uses.end()
            return
        if self._rule.closed(batch, trio.current_time()):
            self._follower.wake()
        self._instruments.notify(Instrument.batch_closed, batch)
        equal = self._flights.board(batch.members) if self._flights else {}
        executor = generation.executors[slot]
        started, paused, teaches = trio.current_time(), 0.0, True
        if codec.streams and isinstance(executor, Streaming) and any(map(wants_parts, running)):
            streaming = self._streaming(batch, executor, slot, codec, computed, late=late)
            await self._stream(streaming)
            runs, paused, teaches = streaming.runs, streaming.paused, codec.streams_only
            codec.uses.end()
        else:
            isolation = Isolation(executor, self._journal, slot, codec.given)
            outcomes = await isolation.infer_once(batch.members, equal)
            whole = _without_pieces(batch, codec.resolve(batch, outcomes))
            if whole:
                computed.send_nowait(Outcomes(codec, whole))
            else:
                codec.uses.end()
            runs = isolation.runs
        self._ledger.end(running)
        # What it took says nothing of a model that has taken over meanwhile, nor parts of whole replies.
        is_told = teaches and generation is self._generations.current
        batcher.completed(batch, runs if is_told else ())
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
        codec: Codec,
        computed: trio.MemorySendChannel[Outcomes],
        *,
        late: trio.Nursery,
    ) -> StreamingBatch:
        finish = partial(self._finish, codec, computed)
        sender = self._sender(codec, finish, late)
        streaming = StreamingBatch(
            batch, executor, codec, sender, finish=finish, journal=self._journal, slot=slot
        )
        if self._cancels.is_on:
            for item in streaming.items:
                self._cancels.on_cancel(item.request, partial(streaming.give_up, item, cancelled()))
        return streaming

    def _finish(
        self, codec: Codec, computed: trio.MemorySendChannel[Outcomes], ending: Resolved | Answer
    ) -> None:
        self._ledger.end([ending.request])
        codec.uses.begin()
        computed.send_nowait(Outcomes(codec, [ending]))

    def _sender(
        self, codec: Codec, finish: Callable[[Resolved | Answer], None], late: trio.Nursery
    ) -> PartSender:
        return PartSender(
            codec,
            self._session,
            finish,
            nursery=late,
            caught_up=self._caught_up,
            instruments=self._instruments,
            max_size=self._pipeline.answering.max_reply_size,
        )

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
        self, batch: Batch, codec: Codec, computed: trio.MemorySendChannel[Outcomes]
    ) -> Batch | None:
        """The batch as this version of the service computes it; None where that refuses all in it.

        What another version has decoded is decoded anew, as it would be after a redelivery.
        """
        if codec.version is not None:
            batch = msgspec.structs.replace(batch, version=codec.version)
        if all(member.generation == codec.generation for member in batch.members):
            return batch
        batch = self._without_former_pieces(batch, codec)
        decoded: list[Pending | Failure] = list(batch.members)

        async def decode(place: int, member: Pending) -> None:
            anew = await codec.decode(member.request, suspect=member.suspect)
            if isinstance(anew, Pending) and anew.rest is not None:
                await codec.close_pieces(anew)
                anew = Failure(Overloaded("the model was swapped meanwhile; send the request again"))
            decoded[place] = anew

        async with trio.open_nursery() as nursery:
            for place, member in enumerate(batch.members):
                if member.generation != codec.generation:
                    nursery.start_soon(decode, place, member)
        undecodable = [
            Resolved(member.request, each)
            for member, each in zip(batch.members, decoded, strict=True)
            if isinstance(each, Failure)
        ]
        self._refuse_several(undecodable, codec, computed)
        members = tuple(each for each in decoded if isinstance(each, Pending))
        return msgspec.structs.replace(batch, members=members) if members else None

    def _without_former_pieces(self, batch: Batch, codec: Codec) -> Batch:
        """The batch without the pieces that another version has decoded: their requests begin anew."""
        former = [
            each for each in batch.members if each.rest is not None and each.generation != codec.generation
        ]
        for each in former:
            self._ledger.end([each.request])
            each.rest.end(None)
        return msgspec.structs.replace(
            batch, members=tuple(each for each in batch.members if each not in former)
        )

    def _without_given_up(
        self, batch: Batch, codec: Codec, computed: trio.MemorySendChannel[Outcomes]
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
                self._notify_refused([resolved])
                member.rest.end(resolved)
        self._refuse_several(whole, codec, computed)
        members = tuple(member for member in batch.members if member not in given_up)
        return msgspec.structs.replace(batch, members=members) if members else None

    def _refuse_several(
        self, refused: Sequence[Resolved], codec: Codec, computed: trio.MemorySendChannel[Outcomes]
    ) -> None:
        if refused:
            self._ledger.end([each.request for each in refused])
            self._notify_refused(refused)
            codec.uses.begin()
            computed.send_nowait(Outcomes(codec, refused))

    async def reply(self, computed: trio.MemoryReceiveChannel[Outcomes]) -> None:
        """Encode and settle; all that is ready goes in one write to the broker.

        What the broker is slow to confirm, or would not take, is settled in tasks of their own. It is held
        until then, so the prefetch bounds how many there are.
        """
        with computed:
            async for first in computed:
                outcomes = [first, *_at_hand(computed)]
                await self._answer(outcomes)
                del first, outcomes  # as in `receive`

    async def _answer(self, outcomes: Sequence[Outcomes]) -> None:
        session = self._session
        by_codec = dict[Codec, list[Resolved | Answer]]()  # each is encoded by the service that computed it
        for each in outcomes:
            by_codec.setdefault(each.codec, []).extend(each.several)
        answers = list[Answer]()
        for codec, several in by_codec.items():
            answered = await self._pipeline.answering.answer(several, codec, session, self._flights.followed)
            if self._flights:
                self._flights.land(answered, codec)
                answered = self._without_given_up_replies(answered)
                self._instruments.notify(Instrument.cache_changed, self._pipeline.contents.size)
            answers += answered
        for each in outcomes:
            each.codec.uses.end()
        prompt, *apart = session.apart(answers)
        for group in apart:
            self._nursery.start_soon(self.settle, group, range(len(group)), None)
        if not prompt:
            return
        settled, rest = await session.settle_promptly(prompt)
        over = [(answer, ending) for answer, ending in zip(prompt, settled, strict=True) if ending]
        if over:
            self._notify_settled([answer for answer, _ in over], [ending for _, ending in over])
        if rest is not None:
            left = [place for place, ending in enumerate(settled) if not ending]
            self._nursery.start_soon(self.settle, prompt, left, rest)

    def _without_given_up_replies(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers, but no reply that was made only for those who wait for an equal one."""
        return [
            Answer(each.request, None, cancelled())
            if each.error is None and each.request in self._cancels
            else each
            for each in answers
        ]

    async def settle(self, answers: Sequence[Answer], places: Collection[int], rest: Rest | None) -> None:
        """Settle answers, or do the `rest` of it, and notify of those at some places."""
        answers, settled = await self._pipeline.answering.settle(answers, self._session, rest)
        self._notify_settled([answers[place] for place in places], [settled[place] for place in places])

    def _notify_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        requests = [answer.request for answer in answers]
        self._ledger.settle(requests)
        if self._cancels.is_on:
            self._cancels.settle(requests)
        if self._rule.settled():
            self._follower.wake()
        claims = self._pipeline.answering.claims
        if claims and claims.concerns(answers):
            self._nursery.start_soon(claims.settled, answers, settled)
        self._instruments.notify(Instrument.requests_settled, answers, settled)


def _without_pieces(batch: Batch, resolved: list[Resolved]) -> list[Resolved]:
    """What is to be answered; the pieces among it go to the requests that they are of."""
    if all(member.rest is None for member in batch.members):
        return resolved
    whole = list[Resolved]()
    for member, each in zip(batch.members, resolved, strict=True):
        if member.rest is None:
            whole.append(each)
        else:
            member.rest.end(each)
    return whole


def _at_hand(channel: trio.MemoryReceiveChannel[T]) -> list[T]:
    """All that can be received without waiting."""
    taken: list[T] = []
    try:
        while True:
            taken.append(channel.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return taken
