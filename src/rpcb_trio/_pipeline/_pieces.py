"""Requests in pieces: what `decode` gave as `Pieces` is computed one piece after the other.

    decode ─▶ first piece ─▶ pending ─▶ batch ─▶ compute ─▶ next piece ─▶ pending ─▶ ... ─▶ join ─▶ reply

A request has one piece at a time among the pending ones, so that a long request takes turns with short ones.
While that is computed, the next one is decoded. A later piece waits from when it came: it stands behind the
requests that have arrived by then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import trio

from rpcb_trio._messages import Failure, Outcome, Pending, Success
from rpcb_trio._parts import END, End
from rpcb_trio._pipeline._decoding import RestOfPieces
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._pipeline._part_sender import Stream
from rpcb_trio._pipeline._resolved import Resolved

T = TypeVar("T")

CLOSE_TIMEOUT = 5.0
"""Seconds for what pieces come from to be closed."""


class InPieces:
    """Has one request computed piece by piece.

    Args:
        first: its first piece.
        generation: that has decoded it.
        serving: the one that answers now.
        ledger: is told when the service's code runs.
        send: puts a piece among the pending ones.
        stream: its reply, where that goes out in parts; None where it is wanted whole.
        send_part: sends what is computed of a piece as a part.
    """

    def __init__(
        self,
        first: Pending,
        generation: Generation,
        *,
        serving: Callable[[], Awaitable[Generation]],
        ledger: Ledger,
        send: Callable[[Pending], None],
        stream: Stream | None,
        send_part: Callable[[Generation, Success[Any]], Awaitable[None]],
    ) -> None:
        self._piece = first
        self._generation = generation
        self._is_open = True
        """Whether more pieces may come."""
        self._serving = serving
        self._ledger = ledger
        self._send = send
        self._stream = stream
        self._send_part = send_part
        first.rest.stream = stream

        self.is_refused = False
        """Whether none of it was computed, since another service could not decode it."""

    async def run(self) -> tuple[Generation, Resolved]:
        """Return what becomes of the request, and the generation that computed it."""
        try:
            return await self._run()
        finally:
            if self._is_open:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await self._generation.decoding.close_pieces(self._piece)

    async def _run(self) -> tuple[Generation, Resolved]:
        request, results = self._piece.request, list[Any]()
        while True:
            self._ledger.begin([request])  # whoever computes a piece ends that
            self._send(self._piece)
            following = await self._using(self._generation.decoding.following_piece(self._piece))
            self._is_open = isinstance(following, Pending)
            resolved = await self._piece.rest.ended()
            self._ledger.begin([request])
            if resolved is None:
                anew = await self._begin_anew()
                if anew is not None:
                    return self._generation, Resolved(request, anew)
                results = []
                continue
            if isinstance(resolved.outcome, Failure):
                return self._generation, resolved
            if self._stream is None:
                results.append(resolved.outcome.value)
            elif not await self._streamed(self._stream, resolved, resolved.outcome):
                return self._generation, resolved
            if following is None:
                return self._generation, await self._joined(results, resolved)
            if isinstance(following, Failure):
                return self._generation, Resolved(request, following, resolved.headers)
            self._piece = msgspec.structs.replace(following, since=trio.current_time())

    async def _begin_anew(self) -> Failure | None:
        """Decode the request by the service that answers now; None where that has worked."""
        piece = self._piece
        if self._is_open:
            await self._generation.decoding.close_pieces(piece)
        self._generation = await self._serving()
        decoded = await self._using(self._generation.decoding.decode(piece.request, suspect=piece.suspect))
        if isinstance(decoded, Failure):
            self._is_open = False
            self.is_refused = piece.since is None
            return decoded
        rest = RestOfPieces(iter(()), is_whole=True) if decoded.rest is None else decoded.rest
        rest.stream = self._stream
        if self._stream is not None:
            self._stream.position = 0
        self._piece = msgspec.structs.replace(decoded, rest=rest, since=piece.since)
        self._is_open = True
        return None

    async def _streamed(self, stream: Stream, resolved: Resolved, outcome: Success[Any]) -> bool:
        """Send what was computed of a piece, unless that has gone out in parts; whether more is wanted."""
        if stream.ending is None and outcome.value is not END:
            stream.headers = resolved.headers
            await self._send_part(self._generation, outcome)
        return stream.ending is None

    @staticmethod
    def ending_of(resolved: Resolved) -> Outcome[Any] | End:
        """How a stream ends whose last piece was resolved like that."""
        return resolved.outcome if isinstance(resolved.outcome, Failure) else END

    async def _joined(self, results: list[Any], last: Resolved) -> Resolved:
        if self._piece.rest.is_whole or self._stream is not None:
            return last
        joining = self._generation.encoding.join(last.request, results)
        return Resolved(last.request, await self._using(joining), last.headers)

    async def _using(self, call: Awaitable[T]) -> T:
        uses = self._generation.uses
        uses.begin()
        result = await call
        uses.end()  # not where it is cancelled: the session ends all uses
        return result
