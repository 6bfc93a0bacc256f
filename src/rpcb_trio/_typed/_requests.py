"""What a service may ask of its requests besides their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rpcb_trio._messages import NO_HEADERS, Request, caller_hash


class RequestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request besides its body, for an `infer` with a parameter of `list[RequestInfo]`."""

    headers: Mapping[str, object] = NO_HEADERS
    """Of AMQP."""
    seconds_left: float | None = None
    """From the start of this run until its caller awaits it no more; None where it waits for ever."""
    caller: str | None = None
    """A hash of its `reply_to`, as in the audit: the same for all requests of a caller; None without one."""
    correlation_id: str | None = None


class Asked(msgspec.Struct, frozen=True, eq=False):
    """An item with what is known of its request."""

    item: Any
    request: RequestInfo


def info_of(request: Request, now: float) -> RequestInfo:
    """What a service may know of a request at `now`, a reading of `trio.current_time()`."""
    return RequestInfo(
        headers=request.headers,
        seconds_left=None if request.deadline is None else request.deadline - now,
        caller=None if request.reply_to is None else caller_hash(request.reply_to),
        correlation_id=request.correlation_id,
    )
