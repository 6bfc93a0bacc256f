"""The frozen values that are passed from room to room."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from rpcb_trio.errors import CallError, OutcomeError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

ERROR_HEADER = "rpcb-error"
"""AMQP header of an error reply: one word for the error (see `OutcomeError.code`)."""

KIND_HEADER = "rpcb-error-kind"
"""AMQP header of an error reply: whose fault it is (see `OutcomeError.kind`)."""

REASON_HEADER = "rpcb-error-reason"
"""AMQP header of an error reply: its text, on one line, bounded."""

MODEL_VERSION_HEADER = "rpcb-model-version"
"""AMQP header of a reply: the version of the model that made it; absent where that has none."""

STREAM_HEADER = "rpcb-stream"
"""AMQP header of a request, a boolean: its caller takes the reply in parts."""

PART_HEADER = "rpcb-part"
"""AMQP header of a part of a reply: its number, from 0."""

END_HEADER = "rpcb-end"
"""AMQP header of the last message of a reply in parts, true."""

CACHE_HEADER = "rpcb-cache"
"""AMQP header of a reply that was made for an equal request: `hit`; absent in all others."""

REQUEST_ID_HEADER = "x-request-id"
"""Header of HTTP, and of AMQP in any spelling: it comes back in the reply. Some client libraries know their
replies again by it, and not by the `correlation_id`."""

NO_HEADERS: Mapping[str, object] = {}

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."
"""How RabbitMQ's direct reply-to addresses begin; what follows is a secret of its caller."""

MADE_BY_A_BROKER = re.compile(
    r"(?:^|/)(?=amq\.(?!gen-|(?:direct|topic|fanout|headers|match)(?:/|$)))", re.IGNORECASE
)
"""Where in a `reply_to` such an address may begin, whichever broker made it: names with `amq.` are a broker's
own. The queues that it names itself are no secrets, nor are its exchanges."""

REPLY_TO_PREFIX = re.compile(r"amq\.(?:[a-z]+\.)?reply-to\.|amq\.", re.IGNORECASE)
"""What of it is the same for all callers of a broker."""


class Request(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One request as it was delivered. Compared by identity: two deliveries are never the same request.

    `arrived` and `deadline` are readings of `trio.current_time()`, in seconds.
    """

    body: bytes
    arrived: float
    reply_to: str | None = None
    correlation_id: str | None = None
    deadline: float | None = None
    redelivered: bool = False
    priority: int = 0
    persistent: bool = False
    """Whether the request outlives a restart of the broker; then so does its reply."""
    headers: Mapping[str, object] = NO_HEADERS
    content_type: str | None = None
    content_encoding: str | None = None
    """As its caller set it. `body` is still packed where this says so; a service gets it plain."""
    tag: int = 0
    """The delivery tag. It belongs to the session that delivered the request and is void after it."""


class CallId(NamedTuple):
    """What a request is known by to whoever cancels it: where its reply goes, and its correlation id."""

    reply_to: str | None
    correlation_id: str


@dataclass(frozen=True)
class Pieces(Generic[ItemT]):
    """What a service's `decode` returns for a long request, so that it does not hold up short ones.

    Its items are computed one after the other, each in a batch with other requests, and `join(results)` makes
    one result of theirs. An iterator is asked for the next item, in a thread, while one is computed; what it
    raises fails the request. It is closed where no more is needed.
    """

    items: Iterable[ItemT]


def wants_parts(request: Request) -> bool:
    """Whether its caller takes the reply in parts."""
    return bool(request.headers) and request.headers.get(STREAM_HEADER) is True and bool(request.reply_to)


class Pending(msgspec.Struct, frozen=True, eq=False):
    """A request that is decoded and waits for a batch."""

    request: Request
    item: object
    cost: float = 1.0
    """What `service.cost(item)` returned (seconds of audio, tokens, ...)."""
    suspect: bool = False
    """Whether it may have killed the worker that held it before; then it is computed alone."""
    ready: float = -math.inf
    """When it was decoded, as `trio.current_time()`; where there is no `decode`, when it was received."""
    began: float = math.inf
    """When its `decode` began, likewise; infinity where there is none."""
    generation: int = 0
    """How often the model had been swapped when it was decoded: a batch has items of one generation."""
    since: float | None = None
    """From when it waits, where that is not the arrival: a later piece of a request in pieces."""
    rest: Any = None
    """Where its request's further pieces come from; None where it is the whole."""


class Work(msgspec.Struct, frozen=True):
    """How much a batch asks of a model, in the unit of `service.cost`; without that hook an item is 1."""

    size: int
    """How many items."""
    longest: float
    """The largest cost among them."""
    total: float
    """The sum of their costs."""

    @property
    def padded(self) -> float:
        """The cost when each item is padded to the longest."""
        return self.size * self.longest

    @classmethod
    def of(cls, costs: Sequence[float]) -> Work:
        """The work of items with these costs; at least one."""
        return cls(len(costs), max(costs), math.fsum(costs))

    def joined_by(self, cost: float) -> Work:
        """The work with one more item."""
        return Work(self.size + 1, max(self.longest, cost), self.total + cost)


class Ending(StrEnum):
    """How one run of `infer` ended."""

    COMPUTED = "computed"
    FAILED = "failed"
    """It raised, or returned the wrong number of results."""
    OUT_OF_MEMORY = "out-of-memory"
    """The device's memory could not hold the batch."""


class Run(msgspec.Struct, frozen=True):
    """One run of `infer`. A batch has several when it failed as a whole and was split."""

    work: Work
    seconds: float
    ending: Ending


class Trigger(StrEnum):
    """Why a batch was closed."""

    SIZE = "size"
    """It was full."""
    COST = "cost"
    """No further request fits: `max_batch_cost`, the device's memory, or padding that would cost more than
    it gains."""
    WAIT = "wait"
    """Its wait was over, or no request could join it any more."""
    IDLE = "idle"
    """An executor was idle, and waiting for more would have cost more than it gained."""
    CALLERS = "callers"
    """The callers that were just answered are back with their next requests."""
    DEADLINE = "deadline"
    """A deadline would have been missed by waiting for more."""
    FLUSH = "flush"
    """No more requests come: the worker drains."""
    ALONE = "alone"
    """It is one redelivered request that may have killed the worker that held it before."""


class Batch(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Requests that the model computes at once."""

    id: int
    members: tuple[Pending, ...]
    trigger: Trigger
    closed: float
    """When it was closed, as `trio.current_time()`."""
    predicted: float | None = None
    """Seconds that its policy expects it to take; None where the policy does not learn."""
    version: str | None = None
    """Of the model that computes it; None where that has none."""

    @property
    def size(self) -> int:
        """How many requests it holds."""
        return len(self.members)

    @property
    def first_of(self) -> int:
        """Of how many requests it is the first batch: of all, but those of which it has a later piece."""
        return sum(member.since is None for member in self.members)

    @property
    def waits(self) -> tuple[float, ...]:
        """How long each request waited from its arrival until the batch was closed, in seconds."""
        return tuple(
            self.closed - (member.request.arrived if member.since is None else member.since)
            for member in self.members
        )

    @property
    def work(self) -> Work:
        """How much it asks of the model."""
        return Work.of([member.cost for member in self.members])


class Success(msgspec.Struct, Generic[ResultT], frozen=True):
    """What `infer` returned for one request."""

    value: ResultT


class Failure(msgspec.Struct, frozen=True, eq=False):
    """Why there is no result for one request."""

    error: OutcomeError


Outcome: TypeAlias = Success[ResultT] | Failure
"""What a service's `encode` turns into a reply's body."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One reply, on its way to a caller or as an `RpcClient` received it."""

    body: bytes
    correlation_id: str | None = None
    headers: Mapping[str, object] = NO_HEADERS
    content_type: str = "application/octet-stream"

    @property
    def part(self) -> int | None:
        """The number of the part, from 0, where it is a part of a reply; None where it is a whole one."""
        number = self.headers.get(PART_HEADER)
        return number if isinstance(number, int) else None

    @property
    def is_last(self) -> bool:
        """Whether no further part follows."""
        return PART_HEADER not in self.headers or self.headers.get(END_HEADER) is True

    @property
    def error(self) -> str | None:
        """The error's one-word code where this is an error reply of an rpcb_trio worker, else None."""
        return self._text(ERROR_HEADER)

    @property
    def error_kind(self) -> str | None:
        """Whose fault the error is: `request`, `service` or `busy`; None where it says nothing of it."""
        return self._text(KIND_HEADER)

    @property
    def error_reason(self) -> str | None:
        """The error's text for people, on one line; None where there is none."""
        return self._text(REASON_HEADER)

    def _text(self, header: str) -> str | None:
        text = self.headers.get(header)
        return text if isinstance(text, str) else None

    def raise_for_error(self) -> Reply:
        """Return the reply itself.

        Raises:
            RemoteError: it is an error reply.
        """
        if self.error is None:
            return self
        raise RemoteError(self)


class RemoteError(CallError):
    """The worker answered with an error reply (see `Reply.raise_for_error`)."""

    def __init__(self, reply: Reply) -> None:
        said = repr(reply.body[:200]) if reply.error_reason is None else reply.error_reason
        super().__init__(f"the worker answered with an error ({reply.error}): {said}")
        self.reply: Reply = reply
        """The error reply; its `body` has the service's own shape."""
        self.code: str = reply.error or "error"
        """One word for the error, as in `Reply.error`."""

    @property
    def kind(self) -> str | None:
        """Whose fault the error is: `request`, `service` or `busy`; None where the worker does not say."""
        return self.reply.error_kind

    @property
    def body(self) -> bytes:
        """The body of the reply."""
        return self.reply.body


class Answer(msgspec.Struct, frozen=True, eq=False):
    """A request with its reply, ready to be settled: published, confirmed by the broker, then acked."""

    request: Request
    reply: Reply | None
    """None where the request is dropped: it is acked, and its caller gets nothing."""
    error: OutcomeError | None = None
    """The error, where it is an error reply or none."""
    dead_letter: str | None = None
    """Why the request goes to the dead letters, if it does; a `reply` is sent nevertheless."""
    is_part: bool = False
    """Whether others follow: it is published and confirmed, and its request stays open."""


class Settled(StrEnum):
    """How one request ended."""

    REPLIED = "replied"
    """The broker has confirmed the reply and the request is acked."""
    NO_REPLY_TO = "no-reply-to"
    """The request has no reply_to; it is acked."""
    UNROUTABLE = "unroutable"
    """The caller's reply queue is gone; the request is acked."""
    REJECTED = "rejected"
    """It can't be answered, or the broker refused the reply; it went to the dead-letter exchange, if there is
    one."""
    REQUEUED = "requeued"
    """The broker refused the reply; the request is back in its queue, as set."""
    DROPPED = "dropped"
    """It is acked without a reply: it had expired and is dropped, as set, or its caller has cancelled it."""
    UNSENDABLE = "unsendable"
    """Not an end: its reply is too big for the broker or can't be put into AMQP, and is replaced. Instruments
    never see it."""


def caller_hash(reply_to: str) -> str:
    """A hash of a caller's address, the same in every log and file."""
    return hashlib.blake2b(reply_to.encode(), digest_size=8).hexdigest()


def shown_address(reply_to: str | None) -> str:
    """A `reply_to` as a log may show it: whoever knows a direct reply-to address can send there."""
    found = None if reply_to is None else MADE_BY_A_BROKER.search(reply_to)
    if reply_to is None or found is None:
        return repr(reply_to)
    known = REPLY_TO_PREFIX.match(reply_to, found.end())
    seen = reply_to[: found.end() if known is None else known.end()]
    return f"{seen + '...'!r} (caller {caller_hash(reply_to)})"


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One request as an `RpcClient` sends it. `expiration` is in seconds."""

    body: bytes
    exchange: str
    routing_key: str
    correlation_id: str
    expiration: float | None = None
    priority: int | None = None
    headers: Mapping[str, object] = NO_HEADERS
    content_type: str = "application/octet-stream"
    reply_to: str | None = None
    """The queue for its reply; None for a direct reply-to address of the client's."""

    def why_too_big(self, most: int) -> str:
        """The text for a broker that takes at most so many bytes."""
        return (
            f"the request has {len(self.body)} bytes, and the broker takes {most} at most; send less, or "
            "set claims, a store for what is larger. If max_message_size was raised in rabbitmq.conf, set it "
            "here, too"
        )

    def why_returned(self) -> str:
        """The text for a broker that has no queue for it."""
        if not self.exchange:
            return f"there is no queue {self.routing_key!r}"
        return f"no queue is bound to exchange {self.exchange!r} with routing key {self.routing_key!r}"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message to an exchange that needs no listener. `expiration` is in seconds."""

    routing_key: str
    body: bytes
    expiration: float
    content_type: str = "application/json"
