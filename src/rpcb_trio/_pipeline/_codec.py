"""Decode and encode: a service's own code, off the event loop, one request's failure kept from the others."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import trio

from rpcb_trio._errors import DecodeError, EncodeError, KilledWorker, OutcomeError, ReplyTooBig
from rpcb_trio._messages import (
    ERROR_HEADER,
    NO_HEADERS,
    Answer,
    Batch,
    Failure,
    Outcome,
    Pending,
    Reply,
    Request,
    Success,
)
from rpcb_trio._pipeline._unpacking import is_plain, unpacked_body
from rpcb_trio._service import BoundService, is_of_the_hook, plain_body

T = TypeVar("T")

log = logging.getLogger("rpcb_trio")

LARGEST_NUMBER = 2**31 - 1
"""In the headers of a reply."""


class Place(msgspec.Struct, frozen=True):
    """A request's place in the batch it was computed in; it keeps none of its batch mates alive."""

    batch: int
    size: int
    wait: float
    """Seconds from the request's arrival until the batch was closed."""

    @property
    def headers(self) -> dict[str, object]:
        """As a reply carries it, in numbers of 31 bits, which every client library reads.

        The id begins again at 0 after the largest of them; the wait is in whole milliseconds.
        """
        return {
            "rpcb-batch": self.batch & LARGEST_NUMBER,
            "rpcb-batch-size": self.size,
            "rpcb-wait": min(round(1e3 * self.wait), LARGEST_NUMBER),
        }


class Resolved(msgspec.Struct, frozen=True, eq=False):
    """A request with its outcome, ready to be answered."""

    request: Request
    outcome: Outcome[Any]
    place: Place | None = None
    """None where the request never was in a batch."""

    @property
    def error(self) -> OutcomeError | None:
        """Why there is no result, where there is none."""
        return self.outcome.error if isinstance(self.outcome, Failure) else None


class Offload(Protocol):
    """Runs a function somewhere it may block: `to_thread.run_sync` in a worker, in place in virtual time."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Run `function` and return what it returned."""
        ...


def offload_to_threads(limit: int) -> Offload:
    """Run functions in at most `limit` threads; a cancelled one runs to its end and its result is dropped."""
    limiter = trio.CapacityLimiter(limit)

    async def offload(function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function, limiter=limiter, abandon_on_cancel=True)

    return offload


class Codec:
    """The hooks `decode`, `cost` and `encode` of one service.

    With `batch_headers`, the reply of each request that was in a batch says so in its headers.
    """

    def __init__(
        self,
        service: BoundService,
        offload: Offload,
        *,
        batch_headers: bool = False,
        max_body_size: int | None = None,
    ) -> None:
        self._service = service
        self._encode_hook = service.encode or plain_body
        self._offload = offload
        self._batch_headers = batch_headers
        self._max_body_size = max_body_size

    def resolve(self, batch: Batch, outcomes: Sequence[Outcome[Any]]) -> list[Resolved]:
        """A batch's members with their outcomes, in order."""
        if not self._batch_headers:
            return [
                Resolved(member.request, outcome)
                for member, outcome in zip(batch.members, outcomes, strict=True)
            ]
        return [
            Resolved(member.request, outcome, Place(batch.id, batch.size, wait))
            for member, outcome, wait in zip(batch.members, outcomes, batch.waits, strict=True)
        ]

    @property
    def takes_bodies(self) -> bool:
        """Whether a body is an item as it is, so that `decode` never waits."""
        return self._service.decode is None

    async def decode(self, request: Request, *, suspect: bool = False) -> Pending | Failure:
        """Decode one request's body; whatever the hooks raise becomes a `Failure`."""
        if self._service.decode is None and is_plain(request):
            return self.take_body(request, trio.current_time(), suspect=suspect)
        decoded = await self._offload(lambda: self._decode(request, suspect=suspect))
        if isinstance(decoded, Failure):
            return decoded
        return msgspec.structs.replace(decoded, ready=trio.current_time())

    def take_body(self, request: Request, now: float, *, suspect: bool = False) -> Pending:
        """Take a body for the item, where that is so (see `takes_bodies`)."""
        return Pending(request, request.body, 1.0, suspect, now)

    async def encode(self, resolved: Sequence[Resolved], max_size: int | None = None) -> list[Answer]:
        """Encode outcomes into replies that carry their request's own correlation id.

        A body of more than `max_size` bytes becomes an error.
        """
        if self._service.encode is None:  # it takes no time; what follows waits for the broker
            return [self._encode(each, max_size) for each in resolved]
        return await self._offload(lambda: [self._encode(each, max_size) for each in resolved])

    def _decode(self, request: Request, *, suspect: bool) -> Pending | Failure:
        try:
            body = request.body if is_plain(request) else unpacked_body(request, self._max_body_size)
            item = body if self._service.decode is None else self._service.decode(body)
            cost = 1.0 if self._service.cost is None else _checked_cost(self._service.cost(item))
        except OutcomeError as error:
            return Failure(error)
        except BaseException as error:  # a bad request spoils nobody, whatever it makes decode raise
            if not is_of_the_hook(error):
                raise
            return Failure(caused(DecodeError("the request could not be decoded"), error))
        return Pending(request, item, cost, suspect)

    def _encode(self, resolved: Resolved, max_size: int | None) -> Answer:
        request, outcome = resolved.request, resolved.outcome
        try:
            body = self._body(outcome, max_size)
        except OutcomeError as error:
            outcome = Failure(error if isinstance(outcome, Success) else outcome.error)
            body = self._error_body(outcome, max_size)
        headers = NO_HEADERS if isinstance(outcome, Success) else {ERROR_HEADER: outcome.error.code}
        if self._batch_headers and resolved.place is not None:
            headers = {**headers, **resolved.place.headers}
        reply = Reply(
            body=body,
            correlation_id=request.correlation_id,
            headers=headers,
            content_type=self._service.content_type,
        )
        if isinstance(outcome, Success):
            return Answer(request, reply)
        dead_letter = str(outcome.error) if isinstance(outcome.error, KilledWorker) else None
        return Answer(request, reply, outcome.error, dead_letter)

    def _body(self, outcome: Outcome[Any], max_size: int | None) -> bytes:
        """Encode an outcome.

        Raises:
            OutcomeError: whatever `encode` raised, or that it made too much.
        """
        try:
            body = _as_bytes(self._encode_hook(outcome))
        except OutcomeError:
            raise
        except BaseException as error:
            if not is_of_the_hook(error):
                raise
            raise EncodeError("the result could not be encoded") from error
        if max_size is not None and len(body) > max_size:
            raise ReplyTooBig(f"the reply has {len(body)} bytes, and {max_size} are allowed (max_reply_size)")
        return body

    def _error_body(self, failure: Failure, max_size: int | None) -> bytes:
        """An encode that fails at an error, too, still leaves the producer an answer."""
        try:
            return self._body(failure, max_size)
        except OutcomeError as error:
            log.warning(
                "encode failed at the error %r, so the reply is plain text: %s <- %r",
                failure.error,
                error,
                error.__cause__,
            )
            return plain_body(failure)


def caused(error: OutcomeError, cause: BaseException) -> OutcomeError:
    """Attach the cause, as `raise error from cause` would."""
    error.__cause__ = cause
    return error


def _checked_cost(cost: Any) -> float:
    checked = float(cost)
    if not 0 <= checked < math.inf:  # not a number above all: it would upset every comparison of batches
        raise ValueError(f"cost must return a number from 0 up, not {cost!r}")
    return checked


def _as_bytes(body: Any) -> bytes:
    if type(body) is bytes:
        return body
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"encode must return bytes, not {type(body).__name__}")
    return bytes(body)
