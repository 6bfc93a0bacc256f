"""How a request ends: what the model made of it, the answer to it, and how that was settled."""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

import msgspec

from rpcb_trio._messages._replies import Reply
from rpcb_trio._messages._requests import Request
from rpcb_trio.errors import OutcomeError

ResultT = TypeVar("ResultT")


class Success(msgspec.Struct, Generic[ResultT], frozen=True):
    """What `infer` returned for one request."""

    value: ResultT


class Failure(msgspec.Struct, frozen=True, eq=False):
    """Why there is no result for one request."""

    error: OutcomeError


Outcome: TypeAlias = Success[ResultT] | Failure
"""What a service's `encode` turns into a reply's body."""


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
