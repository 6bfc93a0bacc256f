"""Decode: from requests to what `infer` is given; the hooks are called so that each request fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import attrgetter
from typing import Any

import msgspec
import trio

from rpcb_trio._claims import NO_CLAIMS, Claims, is_claimed
from rpcb_trio._guard import exact_cost, judge_cost, judge_decode
from rpcb_trio._messages import Failure, Pending, Pieces, Request
from rpcb_trio._pipeline._hooks import Hooks
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._pipeline._unpacking import is_plain, unpacked_body
from rpcb_trio._service import BoundService
from rpcb_trio._typed import Asked, Typed, info_of
from rpcb_trio.errors import DecodeError, HookTimeout

_NO_PIECE = object()

ITEM = attrgetter("item")

QUICK = 8192
"""Bytes of a body that is read on the event loop, where no hook has a part in it: it takes less time than to
hand it to a thread."""


class RestOfPieces:
    """The pieces of one request that are still to come, and what has become of the present one.

    `is_whole` says that there is one piece, whose result is the request's.
    """

    def __init__(self, items: Iterator[Any], *, is_whole: bool = False) -> None:
        self.items = items
        self.is_whole = is_whole
        self.stream: Any = None
        """The reply that goes out in parts; None where it is wanted whole."""
        self._send, self._ended = trio.open_memory_channel[Resolved | None](1)

    def end(self, resolved: Resolved | None) -> None:
        """The present piece is computed, or has failed; None where all of them must be decoded anew."""
        self._send.send_nowait(resolved)

    async def ended(self) -> Resolved | None:
        """Wait for what `end` is called with."""
        return await self._ended.receive()


class Decoding:
    """Calls the hooks `decode` and `cost` of one service.

    Args:
        service: whose they are.
        hooks: runs them.
        max_body_size: bytes, of a body that is unpacked or fetched; None for any.
        journal: is told which requests they run for.
        claims: the stores that a body may be in.
        generation: the number of the service, among those that the worker has had.
    """

    def __init__(
        self,
        service: BoundService,
        hooks: Hooks,
        *,
        max_body_size: int | None = None,
        journal: Journal | None = None,
        claims: Claims = NO_CLAIMS,
        generation: int = 0,
    ) -> None:
        self.generation = generation
        self.max_body_size = max_body_size
        typed = service.typed or Typed()
        self.takes_bodies: bool = service.decode is None and typed.item is None
        """Whether no hook and no type decodes: then a body is an item, and nothing waits for a thread."""
        self.given: Callable[[Pending], Any] = _asked if typed.tells else ITEM
        """What `infer` is given for a request that was decoded."""
        self._service = service
        self._typed = typed
        self._is_quick = typed.item is not None and typed.item.is_quick and service.cost is None
        self._hooks = hooks
        self._journal = journal or Journal()
        self._claims = claims

    def following(self, service: BoundService) -> Decoding:
        """That of the service which takes the place of this one."""
        return Decoding(
            service,
            self._hooks,
            max_body_size=self.max_body_size,
            journal=self._journal,
            claims=self._claims,
            generation=self.generation + 1,
        )

    async def decode(self, request: Request, *, suspect: bool = False) -> Pending | Failure:
        """Decode one request's body; whatever the hooks raise becomes a `Failure`."""
        if self.takes_bodies and is_plain(request):
            return self.take_body(request, trio.current_time(), suspect=suspect)
        began = trio.current_time()
        if self._is_quick and len(request.body) <= QUICK and is_plain(request) and not suspect:
            decoded = self._decoded(request, suspect=False)
            return decoded if isinstance(decoded, Failure) else _timed(decoded, began)
        try:
            async with self._journal.turn([request]):
                decoded = await self._hooks.run(
                    lambda: self._decode(request, suspect=suspect), "decode or cost"
                )
        except HookTimeout as error:
            return Failure(error)
        if isinstance(decoded, Failure):
            return decoded
        return _timed(decoded, began)

    def take_body(self, request: Request, now: float, *, suspect: bool = False) -> Pending:
        """A request whose body is its item (see `takes_bodies`), ready for a batch."""
        return Pending(request, request.body, 1.0, suspect, now, generation=self.generation)

    async def following_piece(self, piece: Pending) -> Pending | Failure | None:
        """Decode the piece that follows one; None where that was the last."""

        def decode() -> Pending | Failure | None:
            with self._journal.running([piece.request]):
                return self._following(piece)

        try:
            async with self._journal.turn([piece.request]):
                return await self._hooks.run(decode, "decode or cost")
        except HookTimeout as error:
            return Failure(error)

    async def close_pieces(self, piece: Pending) -> None:
        """Close what a request's pieces come from; they are not needed any more."""

        def close() -> None:
            with suppress(BaseException):  # nobody waits for what it may raise
                getattr(piece.rest.items, "close", int)()

        with suppress(HookTimeout):
            await self._hooks.run(close, "decode")

    def _decode(self, request: Request, *, suspect: bool) -> Pending | Failure:
        with self._journal.running([request]):
            return self._decoded(request, suspect=suspect)

    def _decoded(self, request: Request, *, suspect: bool) -> Pending | Failure:
        try:
            body = request.body if is_plain(request) else self._fetched(request)
            item = self._item_of(request, body)
        except BaseException as error:  # noqa: BLE001 - a bad request fails alone, whatever decode raises
            return Failure(judge_decode(error))
        if type(item) is Pieces:
            return self._first_piece(request, item, suspect=suspect)
        cost = self._cost(item)
        if isinstance(cost, Failure):
            return cost
        return Pending(request, item, cost, suspect, generation=self.generation)

    def _fetched(self, request: Request) -> bytes:
        """A body that is in a store, or packed, or both."""
        most = self.max_body_size
        if is_claimed(request):
            request = msgspec.structs.replace(request, body=self._claims.body_of(request, most))
        return unpacked_body(request, most)

    def _item_of(self, request: Request, body: bytes) -> Any:
        if self._typed.item is not None:
            return self._typed.read(body, request.content_type)
        return body if self._service.decode is None else self._service.decode(body)

    def _cost(self, item: object) -> float | Failure:
        try:
            return 1.0 if self._service.cost is None else exact_cost(self._service.cost(item))
        except BaseException as error:  # noqa: BLE001 - a bad item fails alone
            return Failure(judge_cost(error))

    def _first_piece(self, request: Request, pieces: Pieces[Any], *, suspect: bool) -> Pending | Failure:
        try:
            rest = RestOfPieces(iter(pieces.items))
        except BaseException as error:  # noqa: BLE001 - likewise
            return Failure(judge_decode(error))
        none = Pending(request, None, 1.0, suspect, generation=self.generation, rest=rest)
        return self._following(none) or Failure(DecodeError("decode gave no pieces"))

    def _following(self, piece: Pending) -> Pending | Failure | None:
        try:
            item = next(piece.rest.items, _NO_PIECE)
        except BaseException as error:  # noqa: BLE001 - likewise
            return Failure(judge_decode(error))
        if item is _NO_PIECE:
            return None
        cost = self._cost(item)
        return cost if isinstance(cost, Failure) else msgspec.structs.replace(piece, item=item, cost=cost)


def _timed(decoded: Pending, began: float) -> Pending:
    return msgspec.structs.replace(decoded, ready=trio.current_time(), began=began)


def _asked(member: Pending) -> Asked:
    return Asked(member.item, info_of(member.request, trio.current_time()))
