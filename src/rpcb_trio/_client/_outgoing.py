"""What a request bears, checked: where it goes, and how long it may wait."""

from __future__ import annotations

import anyio
import msgspec

from rpcb_trio._bounds import POSITIVE
from rpcb_trio._messages import Outgoing
from rpcb_trio.errors import SettingError

CLOSED = "the client is closed"

SHORTEST_EXPIRATION = 0.001
"""Seconds. AMQP counts milliseconds, and at 0 a request expires unless a worker takes it at once."""

LONGEST_EXPIRATION = 365 * 86400.0
"""Seconds. A broker closes the channel over an expiration beyond its limit; a longer call has none."""


def destination(queue: str | None, exchange: str, routing_key: str | None) -> str:
    """The routing key.

    Raises:
        SettingError: it is not clear where the request goes.
    """
    if queue is not None and (exchange or routing_key is not None):
        raise SettingError("give either queue, or exchange and routing_key, not both")
    key = queue if queue is not None else routing_key
    if key is None:
        raise SettingError("give queue, or exchange and routing_key, to say where the request goes")
    return key


def checked_expiration(timeout: float, name: str = "timeout") -> float | None:
    """A time as a request carries it: in seconds, None for never.

    Raises:
        SettingError: it makes no sense.
    """
    if not (isinstance(timeout, int | float) and timeout > 0):  # type: ignore[redundant-expr] # it may be text
        POSITIVE.check(name, timeout)
    return None if timeout > LONGEST_EXPIRATION else timeout


def checked_body(body: bytes) -> bytes:
    """The body of a request.

    Raises:
        TypeError: it is not bytes.
    """
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"the body of a request must be bytes, not {type(body).__name__}")
    return bytes(body)


def later(request: Outgoing, began: float) -> Outgoing:
    """The request, with what is left of its time to live; the clock was at `began` when it had all of it."""
    if request.expiration is None:
        return request
    left = request.expiration - (anyio.current_time() - began)
    return msgspec.structs.replace(request, expiration=max(left, SHORTEST_EXPIRATION))
