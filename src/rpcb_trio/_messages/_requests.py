"""A request: as it was delivered, and as it waits for a batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from rpcb_trio._messages._headers import NO_HEADERS, STREAM_HEADER

ItemT = TypeVar("ItemT")


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


def wants_parts(request: Request) -> bool:
    """Whether its caller takes the reply in parts."""
    return bool(request.headers) and request.headers.get(STREAM_HEADER) is True and bool(request.reply_to)


@dataclass(frozen=True)
class Pieces(Generic[ItemT]):
    """What a service's `decode` returns for a long request, so that it does not hold up short ones.

    Its items are computed one after the other, each in a batch with other requests, and `join(results)` makes
    one result of theirs. An iterator is asked for the next item, in a thread, while one is computed; what it
    raises fails the request. It is closed where no more is needed.
    """

    items: Iterable[ItemT]


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
