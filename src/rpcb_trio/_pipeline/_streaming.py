"""Compute a batch of which some callers take their replies in parts.

Where it fails as a whole, what has not ended is split and begins anew, until each bad item is alone. Parts
that went out are not sent again; they must come out as before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import trio

from rpcb_trio._executors import DiedTogether, Streaming
from rpcb_trio._guard import judge_infer
from rpcb_trio._messages import (
    DIRECT_REPLY_TO,
    Batch,
    Ending,
    Failure,
    Outcome,
    Pending,
    Run,
    Success,
    Work,
    wants_parts,
)
from rpcb_trio._parts import END, End, Happened
from rpcb_trio._pipeline._encoding import Encoding
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._part_sender import PartSender, Stream
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio.errors import (
    BrokerError,
    CallerGone,
    ExecutorHung,
    Expired,
    InferError,
    OutcomeError,
    OutOfMemory,
)

CALLERS_SECONDS = 5.0
"""How often it is asked whether a direct caller who gets parts is still there."""


class Item:
    """One member of the batch."""

    def __init__(self, member: Pending, headers: Mapping[str, object]) -> None:
        self.member = member
        self.request = member.request
        self.headers = headers
        self.stream: Stream | None = None
        """The reply that its parts belong to; None where it is wanted whole."""
        if wants_parts(member.request):
            self.stream = Stream(member.request) if member.rest is None else member.rest.stream
        if self.stream is not None:
            self.stream.headers = headers
        self._begun_at = 0 if self.stream is None else self.stream.position
        self._is_done = self._is_given_up = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more is computed of it."""
        return self._is_done or (self.stream is not None and self.stream.ending is not None)

    @property
    def is_left(self) -> bool:
        """Whether nobody wants what is computed of it further."""
        return self._is_given_up or (self.stream is not None and self.stream.is_left)

    def give_up(self, error: OutcomeError) -> Resolved | None:
        """As `end`: nobody wants the whole of it any more."""
        self._is_given_up = self._is_done = True
        if self.member.rest is not None:
            self.member.rest.end(Resolved(self.request, Failure(error), self.headers))
            return None
        return Resolved(self.request, Failure(error), self.headers)

    def begin(self) -> None:
        """It is computed from its beginning."""
        if self.stream is not None:
            self.stream.position = self._begun_at

    def end(self, found: Outcome[Any] | End, encoding: Encoding) -> Resolved | None:
        """Nothing more comes of it; returns what is to be answered, if it is no stream."""
        if self._is_done:
            return None
        self._is_done = True
        if self.member.rest is not None:  # whoever sees to the pieces ends the stream, too
            outcome: Outcome[Any] = Success(END) if found is END else found
            self.member.rest.end(Resolved(self.request, outcome, self.headers))
            return None
        if self.stream is None:
            failed = Failure(InferError("the stream ended without a result")) if found is END else found
            return Resolved(self.request, failed, self.headers)
        if self.stream.ending is None:
            self.stream.end(found, encoding)
        return None


class StreamingBatch:
    """Computes one batch by its service's `stream_infer`.

    Args:
        batch: of which some callers take parts.
        executor: computes it.
        generation: of the service that computes it.
        sender: takes the parts, and the last message of each stream.
        headers: of each member's reply, about the batch.
        finish: takes what is no stream.
        journal: is told what runs.
        slot: of the executor, for the journal.
    """

    def __init__(
        self,
        batch: Batch,
        executor: Streaming,
        generation: Generation,
        sender: PartSender,
        *,
        headers: Sequence[Mapping[str, object]],
        finish: Callable[[Resolved], None],
        journal: Journal,
        slot: int,
    ) -> None:
        self.items = [Item(*each) for each in zip(batch.members, headers, strict=True)]
        self._executor = executor
        self._given = generation.decoding.given
        self._encoding = generation.encoding
        self._sender = sender
        self._finish = finish
        self._journal = journal
        self._slot = slot
        self.runs: list[Run] = []
        """Each run of `stream_infer`, in order."""
        self.is_over = False
        self.paused = 0.0
        """Seconds in which nothing was computed, since all callers were late."""

    async def compute(self) -> None:
        """Compute it; all its requests are finished, or will be once their late parts are taken.

        Raises:
            ExecutorHung: as the executor.
            SessionLost: as the session.
        """
        try:
            await self._compute(self.items)
        finally:
            self.is_over = True

    async def watch_callers(self, has_caller: Callable[[str], Awaitable[bool]]) -> None:
        """Let those be whose direct callers are gone. It never returns."""
        while True:
            await trio.sleep(CALLERS_SECONDS)
            for item in self.items:
                reply_to = item.request.reply_to or ""
                is_asked = item.stream is not None and not item.is_over
                if is_asked and reply_to.startswith(DIRECT_REPLY_TO) and not await has_caller(reply_to):
                    self.leave(item, CallerGone("its caller is gone; the rest of its reply was not computed"))

    def leave(self, item: Item, error: OutcomeError) -> None:
        """Send no more parts of it."""
        if item.stream is not None:
            item.stream.leave(error)
            self._end([item])
            self._sender.wake()

    def give_up(self, item: Item, error: OutcomeError) -> None:
        """Compute no more of it, if the batch is still computed."""
        if self.is_over or item.is_over:
            return
        if item.stream is not None:
            self.leave(item, error)
        elif (resolved := item.give_up(error)) is not None:
            self._finish(resolved)

    async def _compute(self, items: Sequence[Item]) -> None:
        failed: Exception | None = None
        try:
            await self._run(items)
        except (BrokerError, ExecutorHung):
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            failed = error
        left = [item for item in items if not item.is_over]
        if failed is None or len(items) == 1:
            why = InferError("the stream ended before all its items did") if failed is None else failed
            self._end(left, dict.fromkeys(left, Failure(judge_infer(why))))
            return
        size = 1 if isinstance(failed, DiedTogether) else (len(left) + 1) // 2
        for at in range(0, len(left), size):
            await self._compute(left[at : at + size])

    async def _run(self, items: Sequence[Item]) -> None:
        requests = [item.request for item in items]
        if self.runs:  # while it waits for its turn, nothing runs here
            self._journal.note(self._slot, ())
        async with self._journal.turn(requests):
            self._journal.note(self._slot, requests)
            await self._stream(items)

    async def _stream(self, items: Sequence[Item]) -> None:
        started, paused = trio.current_time(), self.paused
        ending = Ending.FAILED
        whole = {number for number, item in enumerate(items) if item.stream is None}
        try:
            given = [self._given(item.member) for item in items]
            await self._executor.stream(given, whole, _Sink(self, items))
            ending = Ending.COMPUTED
        except OutOfMemory:
            ending = Ending.OUT_OF_MEMORY
            raise
        finally:
            work = Work.of([item.member.cost for item in items])
            seconds = trio.current_time() - started - (self.paused - paused)
            self.runs.append(Run(work, seconds, ending))

    async def take(self, items: Sequence[Item], steps: Sequence[Happened]) -> Collection[int]:
        """See `Sink.take`."""
        now = trio.current_time()
        for item in items:
            if (
                item.stream is not None
                and (deadline := item.request.deadline) is not None
                and deadline <= now
            ):
                self.leave(
                    item, Expired("the request's time to live ran out before the last part of its reply")
                )
        parts, endings = list[tuple[Stream, Success[Any]]](), dict[Item, Outcome[Any] | End]()
        for number, found in (each for step in steps for each in step):
            item = items[number]
            if item.is_over or item in endings:
                continue
            if item.stream is not None and isinstance(found, Success):
                parts.append((item.stream, found))
            else:
                endings[item] = found
        if parts:
            await self._sender.send(parts, has_turn=True)
        self._end(items, endings)
        before = trio.current_time()
        live = [item for item in items if not item.is_over]
        if all(item.stream is not None for item in live):
            await self._sender.catch_up([item.stream for item in live if item.stream is not None])
        self.paused += trio.current_time() - before
        return [number for number, item in enumerate(items) if item.is_left]

    def _end(
        self, items: Sequence[Item], endings: Mapping[Item, Outcome[Any] | End] = MappingProxyType({})
    ) -> None:
        """End these, and those whose streams have ended meanwhile."""
        for item in items:
            if item not in endings and not item.is_over:
                continue
            resolved = item.end(endings.get(item, END), self._encoding)
            if resolved is not None:
                self._finish(resolved)
            elif item.stream is not None and item.member.rest is None:
                self._sender.finish([item.stream])


class _Sink:
    def __init__(self, batch: StreamingBatch, items: Sequence[Item]) -> None:
        self._batch = batch
        self.items = items

    def begin(self) -> None:
        for item in self.items:
            item.begin()

    async def take(self, steps: Sequence[Happened]) -> Collection[int]:
        return await self._batch.take(self.items, steps)
