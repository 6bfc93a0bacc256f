"""Decode and encode: a service's own hooks, each called so that one request's failure harms no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

import msgspec
import trio

from rpcb_trio._cache import Cache
from rpcb_trio._claims import CLAIM_HEADER, NO_CLAIMS, Claim, Claims, is_claimed
from rpcb_trio._guard import (
    exact_bytes,
    exact_cost,
    judge_cost,
    judge_decode,
    judge_encode,
    judge_infer,
    outcomes_of,
)
from rpcb_trio._messages import (
    END_HEADER,
    ERROR_HEADER,
    KIND_HEADER,
    MODEL_VERSION_HEADER,
    NO_HEADERS,
    REASON_HEADER,
    Answer,
    Batch,
    Failure,
    Outcome,
    Pending,
    Pieces,
    Reply,
    Request,
    Success,
)
from rpcb_trio._pipeline._hooks import Hooks
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._unpacking import is_plain, unpacked_body
from rpcb_trio._service import BoundService
from rpcb_trio._shown import shown
from rpcb_trio._tracing import spans
from rpcb_trio._typed import Asked, Typed, info_of
from rpcb_trio.errors import DecodeError, HookTimeout, KilledWorker, OutcomeError, ReplyTooBig

log = logging.getLogger("rpcb_trio")

_NO_PIECE = object()

LARGEST_NUMBER = 2**31 - 1
"""In a reply's headers; every client library reads numbers of 31 bits."""


def batch_headers(batch: int, size: int, wait: float) -> dict[str, object]:
    """The headers of a reply about its request's batch; `wait` is in seconds, its header in milliseconds.

    The id begins again at 0 after the largest number.
    """
    return {
        "rpcb-batch": batch & LARGEST_NUMBER,
        "rpcb-batch-size": size,
        "rpcb-wait": min(round(1e3 * wait), LARGEST_NUMBER),
    }


ITEM = attrgetter("item")

QUICK = 8192
"""Bytes of a body that is read on the event loop, where no hook has a part in it: it takes less time than to
hand it to a thread."""


class Resolved(msgspec.Struct, frozen=True, eq=False):
    """A request with its outcome, ready to be encoded."""

    request: Request
    outcome: Outcome[Any]
    headers: Mapping[str, object] = NO_HEADERS
    """Of its reply, about its batch."""

    @property
    def error(self) -> OutcomeError | None:
        """Why there is no result; None where there is one."""
        return self.outcome.error if isinstance(self.outcome, Failure) else None


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


class Uses:
    """Counts for what a service is needed yet: the batches and requests that it has begun with."""

    def __init__(self) -> None:
        self._count = 0
        self._over = trio.Event()

    def begin(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        if not self._count:
            self._over.set()

    def clear(self) -> None:
        """End all: their session has ended, and what was begun with it."""
        self._count = 0
        self._over.set()

    async def over(self) -> None:
        """Wait until there is none."""
        while self._count:
            self._over = trio.Event()
            await self._over.wait()


class Codec:
    """Calls the hooks `decode`, `cost` and `encode` of one service."""

    def __init__(
        self,
        service: BoundService,
        hooks: Hooks,
        *,
        batch_headers: bool = False,
        max_body_size: int | None = None,
        journal: Journal | None = None,
        claims: Claims = NO_CLAIMS,
        version: str | None = None,
        generation: int = 0,
    ) -> None:
        self.version = version
        self.generation = generation
        self.uses: Uses = Uses()
        self.headers: Mapping[str, object] = (
            NO_HEADERS if version is None else {MODEL_VERSION_HEADER: version}
        )
        """Of each reply."""
        self._service = service
        typed = service.typed or Typed()
        self._typed = typed
        self._writes = typed.writes
        self.takes_bodies: bool = service.decode is None and typed.item is None
        """Whether no hook and no type decodes: then a body is an item, and nothing waits for a thread."""
        self._is_quick = typed.item is not None and typed.item.is_quick and service.cost is None
        self.has_encode: bool = service.encode is not None or typed.writes
        """Whether replies are encoded, by a hook or by their types; else it takes no time."""
        self.given: Callable[[Pending], Any] = _asked if typed.tells else ITEM
        """What `infer` is given for a request that was decoded."""
        self.cache: Cache | None = service.cache
        """What the service itself says of its replies."""
        self.hooks = hooks
        self.batch_headers = batch_headers
        self.max_body_size = max_body_size
        self._journal = journal or Journal()
        self._claims = claims
        self._has_claims = bool(claims)

    def closes_with(self, service: BoundService) -> bool:
        """Whether that is of the very object behind this one, which its `close` would take away from both."""
        return service.close is not None and service.close == self._service.close

    def following(self, service: BoundService, version: str | None) -> Codec:
        """The codec of the service that takes the place of this one."""
        return Codec(
            service,
            self.hooks,
            batch_headers=self.batch_headers,
            max_body_size=self.max_body_size,
            journal=self._journal,
            claims=self._claims,
            version=version,
            generation=self.generation + 1,
        )

    def resolve(self, batch: Batch, outcomes: Sequence[Outcome[Any]]) -> list[Resolved]:
        """Join a batch's members with their outcomes, which are in the same order.

        Called in the task that computes the batch.
        """
        return [
            Resolved(member.request, outcome, headers)
            for member, outcome, headers in zip(batch.members, outcomes, self.headers_of(batch), strict=True)
        ]

    def headers_of(self, batch: Batch) -> list[Mapping[str, object]]:
        """The headers of its members' replies, about the batch; called in the task that computes it."""
        shared = _span_of_batch()
        if not self.batch_headers:
            return [shared] * batch.size
        return [{**shared, **batch_headers(batch.id, batch.size, wait)} for wait in batch.waits]

    @property
    def streams(self) -> bool:
        """Whether the service can yield its replies in parts."""
        return self._service.stream_infer is not None

    @property
    def streams_only(self) -> bool:
        """Whether it computes whole replies in the same way."""
        return self._service.streams_only

    def end(self, request: Request, headers: Mapping[str, object]) -> Answer:
        """The last message of a reply in parts that has come to its end."""
        reply = Reply(
            body=b"",
            correlation_id=request.correlation_id,
            headers={**self.headers, **headers, END_HEADER: True},
            content_type=self._service.content_type,
        )
        return Answer(request, reply)

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
                decoded = await self.hooks.run(
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
                return await self.hooks.run(decode, "decode or cost")
        except HookTimeout as error:
            return Failure(error)

    async def close_pieces(self, piece: Pending) -> None:
        """Close what a request's pieces come from; they are not needed any more."""

        def close() -> None:
            with suppress(BaseException):  # nobody waits for what it may raise
                getattr(piece.rest.items, "close", int)()

        with suppress(HookTimeout):
            await self.hooks.run(close, "decode")

    async def join(self, request: Request, results: list[Any]) -> Outcome[Any]:
        """Make one result of those of a request's pieces; without the hook `join`, the list of them."""
        hook = self._service.join
        if hook is None:
            return Success(results)

        def join() -> Outcome[Any]:
            with self._journal.running([request]):
                try:
                    return outcomes_of([hook(results)], 1)[0]
                except BaseException as error:  # noqa: BLE001 - it fails this request alone
                    return Failure(judge_infer(error))

        try:
            async with self._journal.turn([request]):
                return await self.hooks.run(join, "join")
        except HookTimeout as error:
            return Failure(error)

    async def encode(
        self, resolved: Sequence[Resolved], max_size: int | None = None, *, has_turn: bool = False
    ) -> list[Answer]:
        """Encode outcomes into replies that carry their request's own correlation id.

        A body of more than `max_size` bytes is put where its caller takes it from, or becomes an error.
        `has_turn` says that they have their turn in the journal already.
        """
        if not (self.has_encode or self._has_claims):  # it takes no time, so it needs no thread
            return [self._encode(each, max_size) for each in resolved]
        answers: list[Answer] = []
        if has_turn:
            while len(answers) < len(resolved):
                answers += await self._encode_in_time(resolved[len(answers) :], max_size)
            return answers
        for together in self._in_turns(resolved):
            async with self._journal.turn([each.request for each in together]):
                while together:
                    encoded = await self._encode_in_time(together, max_size)
                    answers += encoded
                    together = together[len(encoded) :]  # noqa: PLW2901 - what is left of it
        return answers

    async def put(self, answer: Answer, max_size: int) -> Answer | None:
        """The answer with a claim to its reply; None where that is no larger, or its caller takes none."""
        request, reply = answer.request, answer.reply
        if reply is None or len(reply.body) <= max_size or not self._claims.takes_reply(request):
            return None
        try:
            put = await self.hooks.run(lambda: self._claims.put(request, reply.body), "encode")
        except HookTimeout:
            return None
        if not isinstance(put, Claim):
            return None
        headers = {**reply.headers, CLAIM_HEADER: put.header}
        claimed = msgspec.structs.replace(reply, body=b"", headers=headers)
        return Answer(request, claimed, answer.error, answer.dead_letter)

    def _in_turns(self, resolved: Sequence[Resolved]) -> list[list[Resolved]]:
        """Divide these into those that may be encoded together; a suspect is encoded alone."""
        suspects = [each for each in resolved if self._journal.is_suspect(each.request)]
        others = [each for each in resolved if each not in suspects] if suspects else list(resolved)
        return [*([others] if others else []), *([each] for each in suspects)]

    async def _encode_in_time(self, resolved: Sequence[Resolved], max_size: int | None) -> list[Answer]:
        """Encode as many as the time allows, in order: at least the first, if only as an error."""
        encoded: list[Answer] = []
        is_cut = False

        def encode() -> None:
            with self._journal.running([each.request for each in resolved]):
                for each in resolved:
                    if is_cut:
                        break
                    encoded.append(self._encode(each, max_size))

        try:
            await self.hooks.run(encode, "encode")
        except HookTimeout as error:
            is_cut = True
            # Where others were encoded first, the next one has had less than its time; it gets a new call.
            return encoded[: len(resolved)] or [self._error_answer(resolved[0], error)]
        return encoded

    def _error_answer(self, resolved: Resolved, error: OutcomeError) -> Answer:
        """An error without the service's `encode`: in plain text, or as typed services have it."""
        failure = Failure(error)
        return self._answer(resolved, failure, self._plain_body(resolved.request, failure))

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

    def _fetched(self, request: Request) -> bytes:
        """A body that is in a store, or packed, or both."""
        most = self.max_body_size
        if is_claimed(request):
            request = msgspec.structs.replace(request, body=self._claims.body_of(request, most))
        return unpacked_body(request, most)

    def _encode(self, resolved: Resolved, max_size: int | None) -> Answer:
        outcome, request = resolved.outcome, resolved.request
        body = self._body(request, outcome, max_size, may_put=self._has_claims)
        if isinstance(body, Claim):
            headers = {**resolved.headers, CLAIM_HEADER: body.header}
            return self._answer(msgspec.structs.replace(resolved, headers=headers), outcome, b"")
        if isinstance(body, OutcomeError):
            outcome = Failure(body) if isinstance(outcome, Success) else outcome
            body = self._error_body(request, outcome, max_size)
        return self._answer(resolved, outcome, body)

    def _answer(self, resolved: Resolved, outcome: Outcome[Any], body: bytes) -> Answer:
        request, service = resolved.request, self._service
        headers = {**self.headers, **resolved.headers} if resolved.headers else self.headers
        if isinstance(outcome, Failure):
            headers = {**headers, **_headers_of(outcome.error)}
        reply = Reply(
            body=body,
            correlation_id=request.correlation_id,
            headers=headers,
            content_type=self._content_type_of(request, outcome) if self._writes else service.content_type,
        )
        if isinstance(outcome, Success):
            return Answer(request, reply)
        dead_letter = str(outcome.error) if isinstance(outcome.error, KilledWorker) else None
        return Answer(request, reply, outcome.error, dead_letter)

    def _content_type_of(self, request: Request, outcome: Outcome[Any]) -> str:
        return self._typed.content_type_of(outcome, request.content_type) or self._service.content_type

    def _plain_body(self, request: Request, outcome: Outcome[Any]) -> Any:
        """The body where no hook makes it."""
        if self._writes:
            return self._typed.write(_as_raised(outcome), request.content_type)
        return plain_body(outcome)

    def _body(
        self, request: Request, outcome: Outcome[Any], max_size: int | None, *, may_put: bool = False
    ) -> bytes | Claim | OutcomeError:
        """The body for an outcome, or why there is none; or a claim to it, where its caller takes one."""
        error = outcome.error if isinstance(outcome, Failure) else None
        encode = self._service.encode
        if isinstance(error, KilledWorker) and not error.encodable:
            encode = None
        try:
            body = exact_bytes(
                self._plain_body(request, outcome) if encode is None else encode(_as_raised(outcome))
            )
        except BaseException as failed:  # noqa: BLE001 - a bad result fails alone, whatever encode raises
            return judge_encode(failed, outcome.value if isinstance(outcome, Success) else None)
        if max_size is None or len(body) <= max_size:
            return body
        if may_put and self._claims.takes_reply(request):
            return self._claims.put(request, body)
        return ReplyTooBig(f"the reply has {len(body)} bytes, and {max_size} are allowed (max_reply_size)")

    def _error_body(self, request: Request, failure: Failure, max_size: int | None) -> bytes:
        """The body of an error reply; where `encode` fails at that too, it is plain text."""
        body = self._body(request, failure, max_size)
        if not isinstance(body, OutcomeError):
            assert isinstance(body, bytes)  # noqa: S101 - for the type checker: it was not to be put
            return body
        log.warning(
            "encode failed at the error %s (%s), so the error reply is plain text: %s",
            failure.error.code,
            shown(str(failure.error)),
            body.in_full,
        )
        return plain_body(failure)


def _timed(decoded: Pending, began: float) -> Pending:
    return msgspec.structs.replace(decoded, ready=trio.current_time(), began=began)


def _asked(member: Pending) -> Asked:
    return Asked(member.item, info_of(member.request, trio.current_time()))


def _span_of_batch() -> Mapping[str, object]:
    """The headers that lead a reply's reader to the trace of its batch, where it is traced."""
    opentelemetry = spans()
    return NO_HEADERS if opentelemetry is None else opentelemetry.of_batch() or NO_HEADERS


def plain_body(outcome: Outcome[Any]) -> bytes:
    """The `encode` of services without one: a result as it is, an error as one line of UTF-8 text.

    Raises:
        TypeError: the result is not bytes.
    """
    if isinstance(outcome, Failure):
        return f"{outcome.error.code}: {outcome.error}".encode(errors="backslashreplace")
    return exact_bytes(outcome.value)


def _as_raised(outcome: Outcome[Any]) -> Outcome[Any]:
    """The outcome for a service's own `encode`: with the service's own error, where it raised one."""
    if isinstance(outcome, Failure) and outcome.error.own is not None:
        return Failure(outcome.error.own)
    return outcome


def _headers_of(error: OutcomeError) -> Mapping[str, object]:
    return {ERROR_HEADER: error.code, KIND_HEADER: error.kind, REASON_HEADER: shown(str(error))}
