"""The first stage: what is delivered is decoded, or answered at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import trio

from rpcb_trio._batching import Batcher
from rpcb_trio._instruments import Instrument
from rpcb_trio._messages import Answer, Failure, Pending, Request, Success, wants_parts
from rpcb_trio._pipeline._admission import Admission
from rpcb_trio._pipeline._cancels import cancelled
from rpcb_trio._pipeline._content_cache import answer_with
from rpcb_trio._pipeline._flights import Flight, Way
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._part_sender import Stream
from rpcb_trio._pipeline._pieces import InPieces
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._pipeline._shared import Outcomes, Shared, at_hand


class Onward(msgspec.Struct, frozen=True):
    """Where what is admitted goes."""

    pending: trio.MemorySendChannel[Sequence[Pending]]
    computed: trio.MemorySendChannel[Outcomes]

    def clone(self) -> Onward:
        return Onward(self.pending.clone(), self.computed.clone())


class Receiving:
    """Takes in what is delivered.

    Args:
        shared: by the stages.
        admission: decides what is computed.
        batcher: is told when nothing more comes.
    """

    def __init__(self, shared: Shared, admission: Admission, batcher: Batcher) -> None:
        self._shared = shared
        self._admission = admission
        self._batcher = batcher
        self._intake = shared.intake
        self._pipeline = shared.pipeline
        self._instruments = shared.pipeline.instruments
        self._ledger = shared.pipeline.ledger
        self._generations = shared.pipeline.generations
        self._cancels = shared.pipeline.cancels
        self._receivers = self._receiving = 0

    def start(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        pending: trio.MemorySendChannel[Sequence[Pending]],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Have one for each thread that decodes; without `decode` a single one keeps the order."""
        takes_bodies = self._generations.current.decoding.takes_bodies
        while self._receivers < (1 if takes_bodies else self._pipeline.decode_threads):
            self._receivers += 1
            self._receiving += 1
            self._intake.start_soon(self.receive, requests.clone(), pending.clone(), computed.clone())

    async def receive(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        pending: trio.MemorySendChannel[Sequence[Pending]],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Decode each delivery; one that is refused or can't be decoded goes straight to its answer."""
        onward = Onward(pending, computed)
        with requests, pending, computed:
            async for first in requests:
                # What needs no decoding goes on at once: turns of the scheduler for each cost a fifth more.
                takes_bodies = self._generations.current.decoding.takes_bodies
                taken = [first, *at_hand(requests)] if takes_bodies else [first]
                if not takes_bodies:  # the one before it may have taken them
                    self.start(requests, pending, computed)
                await self._admit(taken, onward)
                del first, taken  # while it waits for the next, it keeps no body that is settled by then
        self._receiving -= 1
        if not self._receiving:
            self._batcher.flush()

    def _pass_on(
        self, admitted: Sequence[Pending | Resolved | Answer], generation: Generation, onward: Onward
    ) -> None:
        first = admitted[0]
        if isinstance(first, Pending) and first.rest is not None:  # it comes alone, as all that is decoded
            its = onward.clone()
            self._intake.start_soon(self.in_pieces, first, generation, its.pending, its.computed)
            return
        if self._cancels.is_on:
            admitted = self._without_cancelled(admitted)
        waiting = [each for each in admitted if isinstance(each, Pending)]
        if waiting:
            onward.pending.send_nowait(waiting)
        if len(waiting) < len(admitted):
            answered = [each for each in admitted if not isinstance(each, Pending)]
            self._shared.notify_refused(answered)
            generation.uses.begin()
            onward.computed.send_nowait(Outcomes(generation, answered))

    async def _admit(self, taken: Sequence[Request], onward: Onward) -> None:
        # All are held from here on, though the session may be lost while one waits to be admitted.
        suspects = self._ledger.receive(taken)
        self._instruments.notify(Instrument.requests_received, taken)
        generation = self._generations.current
        if self._cancels.is_on and (early := self._cancels.enter(taken)):
            self._pass_on([Answer(request, None, cancelled()) for request in early], generation, onward)
            taken = [request for request in taken if request not in self._cancels]
            if not taken:
                return
        if not suspects and self._admission.is_prompt(taken, generation):
            self._pass_on(self._admission.admit_promptly(taken, generation), generation, onward)
            return
        for request in taken:
            await self._admit_one(request, onward, suspect=request in suspects)

    async def _admit_one(
        self,
        request: Request,
        onward: Onward,
        *,
        suspect: bool = False,
        way: Way = Way.ANY,
    ) -> None:
        generation = await self._generations.serving()
        generation.uses.begin()
        self._ledger.begin([request])
        admitted = await self._admission.admit(request, generation, suspect=suspect, way=way)
        if not isinstance(admitted, Flight):
            self._pass_on([admitted], generation, onward)
        elif len(admitted.followers) == 1:
            self._intake.start_soon(self.await_flight, admitted, onward.clone())
        self._ledger.end([request])
        generation.uses.end()

    async def await_flight(self, flight: Flight, onward: Onward) -> None:
        """Once a flight is over, have those who followed answered, or go on without it."""
        with onward.pending, onward.computed:
            await flight.over()
            generation = self._generations.current
            given_up = [each for each in flight.followers if each in self._cancels]
            if given_up:
                self._pass_on([Answer(each, None, cancelled()) for each in given_up], generation, onward)
            followers = [each for each in flight.followers if each not in given_up]
            if flight.reply is not None:
                answers = [answer_with(flight.reply, each) for each in followers]
                if answers:
                    self._pass_on(answers, generation, onward)
                return
            async with trio.open_nursery() as nursery:
                for each in followers:
                    nursery.start_soon(partial(self._admit_one, each, onward, way=flight.way))

    async def in_pieces(
        self,
        first: Pending,
        generation: Generation,
        pending: trio.MemorySendChannel[Sequence[Pending]],
        computed: trio.MemorySendChannel[Outcomes],
    ) -> None:
        """Have a request computed piece by piece, then answer it."""
        stream = Stream(first.request) if wants_parts(first.request) else None
        with pending, computed:
            async with trio.open_nursery() as late:

                async def send_part(generation: Generation, part: Success[Any]) -> None:
                    assert stream is not None  # noqa: S101 - for the type checker
                    finish = partial(self._shared.finish, generation, computed)
                    sender = self._shared.sender(generation.encoding, finish, late)
                    await sender.send([(stream, part)], has_turn=False)
                    await sender.catch_up([stream])

                pieces = InPieces(
                    first,
                    generation,
                    serving=self._generations.serving,
                    ledger=self._ledger,
                    send=partial(self._send_piece, pending),
                    stream=stream,
                    send_part=send_part,
                )
                generation, resolved = await pieces.run()
                if pieces.is_refused:
                    self._shared.notify_refused([resolved])
                finish = partial(self._shared.finish, generation, computed)
                if stream is None:
                    finish(resolved)
                    return
                if stream.ending is None:
                    stream.end(pieces.ending_of(resolved), generation.encoding)
                self._shared.sender(generation.encoding, finish, late).finish([stream])

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
