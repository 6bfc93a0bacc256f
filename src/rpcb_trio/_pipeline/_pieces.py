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
from rpcb_trio._pipeline._codec import Codec, Resolved, RestOfPieces
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._pipeline._part_sender import Stream

T = TypeVar("T")

CLOSE_TIMEOUT = 5.0
"""Seconds for what pieces come from to be closed."""


class InPieces:
    """Has one request computed piece by piece.

    Args:
        first: its first piece.
        codec: that has decoded it.
        serving: the codec of the service that answers now.
        ledger: is told when the service's code runs.
        send: puts a piece among the pending ones.
        stream: its reply, where that goes out in parts; None where it is wanted whole.
        send_part: sends what is computed of a piece as a part.
    """

    def __init__(
        self,
        first: Pending,
        codec: Codec,
        *,
        serving: Callable[[], Awaitable[Codec]],
        ledger: Ledger,
        send: Callable[[Pending], None],
        stream: Stream | None,
        send_part: Callable[[Codec, Success[Any]], Awaitable[None]],
    ) -> None:
        self._piece = first
        self._codec = codec
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

    async def run(self) -> tuple[Codec, Resolved]:
        """Return what becomes of the request, and the codec of the service that computed it."""
        try:
            return await self._run()
        finally:
            if self._is_open:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await self._codec.close_pieces(self._piece)

    async def _run(self) -> tuple[Codec, Resolved]:
        request, results = self._piece.request, list[Any]()
        while True:
            self._ledger.begin([request])  # whoever computes a piece ends that
            self._send(self._piece)
            following = await self._using(self._codec, self._codec.following_piece(self._piece))
            self._is_open = isinstance(following, Pending)
            resolved = await self._piece.rest.ended()
            self._ledger.begin([request])
            if resolved is None:
                anew = await self._begin_anew()
                if anew is not None:
                    return self._codec, Resolved(request, anew)
                results = []
                continue
            if isinstance(resolved.outcome, Failure):
                return self._codec, resolved
            if self._stream is None:
                results.append(resolved.outcome.value)
            elif not await self._streamed(self._stream, resolved, resolved.outcome):
                return self._codec, resolved
            if following is None:
                return self._codec, await self._joined(results, resolved)
            if isinstance(following, Failure):
                return self._codec, Resolved(request, following, resolved.headers)
            self._piece = msgspec.structs.replace(following, since=trio.current_time())

    async def _begin_anew(self) -> Failure | None:
        """Decode the request by the service that answers now; None where that has worked."""
        piece = self._piece
        if self._is_open:
            await self._codec.close_pieces(piece)
        self._codec = codec = await self._serving()
        decoded = await self._using(codec, codec.decode(piece.request, suspect=piece.suspect))
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
            await self._send_part(self._codec, outcome)
        return stream.ending is None

    @staticmethod
    def ending_of(resolved: Resolved) -> Outcome[Any] | End:
        """How a stream ends whose last piece was resolved like that."""
        return resolved.outcome if isinstance(resolved.outcome, Failure) else END

    async def _joined(self, results: list[Any], last: Resolved) -> Resolved:
        if self._piece.rest.is_whole or self._stream is not None:
            return last
        joining = self._codec.join(last.request, results)
        return Resolved(last.request, await self._using(self._codec, joining), last.headers)

    async def _using(self, codec: Codec, call: Awaitable[T]) -> T:
        codec.uses.begin()
        result = await call
        codec.uses.end()  # not where it is cancelled: the session ends all uses
        return result
