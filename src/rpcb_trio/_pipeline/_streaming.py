"""Compute a batch of which some callers take their replies in parts.

Where it fails as a whole, what has not ended is split and begins anew, until each bad item is alone. Parts
that went out are not sent again; they must come out as before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import trio

from rpcb_trio._executors import DiedTogether, Streaming
from rpcb_trio._guard import judge_infer
from rpcb_trio._messages import DIRECT_REPLY_TO, Ending, Failure, Outcome, Run, Success, Work
from rpcb_trio._parts import End, Happened
from rpcb_trio._pipeline._codec import Codec
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._part_sender import PartSender, Stream
from rpcb_trio.errors import BrokerError, CallerGone, ExecutorHung, Expired, InferError, OutOfMemory

CALLERS_SECONDS = 5.0
"""How often it is asked whether a direct caller who gets parts is still there."""


class StreamingBatch:
    """Computes one batch by its service's `stream_infer`.

    Args:
        streams: its requests.
        executor: computes it.
        codec: of the service.
        sender: takes the parts, and the last message of each.
        journal: is told what runs.
        slot: of the executor, for the journal.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        executor: Streaming,
        codec: Codec,
        sender: PartSender,
        *,
        journal: Journal,
        slot: int,
    ) -> None:
        self._streams = streams
        self._executor = executor
        self._codec = codec
        self._sender = sender
        self._journal = journal
        self._slot = slot
        self.runs: list[Run] = []
        """Each run of `stream_infer`, in order."""
        self.paused = 0.0
        """Seconds in which nothing was computed, since all callers were late."""

    async def compute(self) -> None:
        """Compute it; all its requests are finished, or will be once their late parts are taken.

        Raises:
            ExecutorHung: as the executor.
            SessionLost: as the session.
        """
        await self._compute(self._streams)

    async def watch_callers(self, has_caller: Callable[[str], Any]) -> None:
        """Let those be whose direct callers are gone. It never returns."""
        while True:
            await trio.sleep(CALLERS_SECONDS)
            for stream in self._streams:
                reply_to = stream.request.reply_to or ""
                if (
                    not stream.in_parts
                    or stream.ending is not None
                    or not reply_to.startswith(DIRECT_REPLY_TO)
                ):
                    continue
                if not await has_caller(reply_to):
                    stream.leave(CallerGone("its caller is gone; the rest of its reply was not computed"))
                    self._sender.finish([stream])

    async def _compute(self, streams: Sequence[Stream]) -> None:
        failed: Exception | None = None
        try:
            await self._run(streams)
        except (BrokerError, ExecutorHung):
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            failed = error
        left = [stream for stream in streams if stream.ending is None]
        if failed is None or len(streams) == 1:
            why = InferError("the stream ended before all its items did") if failed is None else failed
            for stream in left:
                stream.end(Failure(judge_infer(why)), self._codec)
            self._sender.finish(left)
            return
        size = 1 if isinstance(failed, DiedTogether) else (len(left) + 1) // 2
        for at in range(0, len(left), size):
            await self._compute(left[at : at + size])

    async def _run(self, streams: Sequence[Stream]) -> None:
        requests = [stream.request for stream in streams]
        if self.runs:  # while it waits for its turn, nothing runs here
            self._journal.note(self._slot, ())
        async with self._journal.turn(requests):
            self._journal.note(self._slot, requests)
            await self._stream(streams)

    async def _stream(self, streams: Sequence[Stream]) -> None:
        started, paused = trio.current_time(), self.paused
        ending = Ending.FAILED
        whole = {number for number, stream in enumerate(streams) if not stream.in_parts}
        sink = _Sink(self, streams)
        try:
            await self._executor.stream([stream.member.item for stream in streams], whole, sink)
            ending = Ending.COMPUTED
        except OutOfMemory:
            ending = Ending.OUT_OF_MEMORY
            raise
        finally:
            work = Work.of([stream.member.cost for stream in streams])
            seconds = trio.current_time() - started - (self.paused - paused)
            self.runs.append(Run(work, seconds, ending))

    async def take(self, streams: Sequence[Stream], steps: Sequence[Happened]) -> Collection[int]:
        """See `Sink.take`."""
        now = trio.current_time()
        for stream in streams:
            if stream.in_parts and (deadline := stream.request.deadline) is not None and deadline <= now:
                stream.leave(Expired("the request's time to live ran out before the last part of its reply"))
        parts, endings = list[tuple[Stream, Success[Any]]](), dict[Stream, Outcome[Any] | End]()
        for number, found in (each for step in steps for each in step):
            stream = streams[number]
            if stream.ending is not None or stream in endings:
                continue
            if stream.in_parts and isinstance(found, Success):
                parts.append((stream, found))
            else:
                endings[stream] = found
        if parts:
            await self._sender.send(parts)
        for stream, found in endings.items():
            if stream.ending is None:
                stream.end(found, self._codec)
        self._sender.finish(streams)
        before = trio.current_time()
        await self._sender.catch_up(streams)
        self.paused += trio.current_time() - before
        return [number for number, stream in enumerate(streams) if stream.is_left]


class _Sink:
    def __init__(self, batch: StreamingBatch, streams: Sequence[Stream]) -> None:
        self._batch = batch
        self._streams = streams

    def begin(self) -> None:
        for stream in self._streams:
            stream.position = 0

    async def take(self, steps: Sequence[Happened]) -> Collection[int]:
        return await self._batch.take(self._streams, steps)
