"""The properties of a message, as AMQP 0-9-1 writes them into a content header (section 4.2.6.1).

Read and written exactly.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import astuple

from rpcb_trio._transports._codec._tables import Unsendable, read_table, short_string, write_table

_FLAGS = struct.Struct(">H")
_SIZE = struct.Struct(">I")
_TIME = struct.Struct(">Q")


class Unreadable(Exception):
    """Properties that are not valid AMQP; RabbitMQ passes on whatever a caller wrote."""


class Properties(msgspec.Struct, frozen=True):
    """A message's properties; None for what it does not bear."""

    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, object] | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    """UNIX seconds."""
    message_type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None


TRANSIENT, PERSISTENT = 1, 2
"""Delivery modes: whether a message outlives a restart of the broker, in a durable queue."""

SHORT, TABLE, OCTET, TIME = "short string", "table", "octet", "time"
KINDS = (SHORT, SHORT, TABLE, OCTET, OCTET, SHORT, SHORT, SHORT, SHORT, TIME, SHORT, SHORT, SHORT, SHORT)
"""Of the properties, in their order."""

FIRST_FLAG = 1 << 15
"""The first property's. The others' follow, a bit for each; two bits are left."""
UNKNOWN_FLAGS = 0b11
"""AMQP 0-9-1 has no such properties."""


@lru_cache(maxsize=256)
def _present(flags: int) -> tuple[tuple[int, str], ...]:
    """Which properties these flags announce: the place and the kind of each."""
    return tuple((place, kind) for place, kind in enumerate(KINDS) if flags & FIRST_FLAG >> place)


def read_properties(data: bytes, start: int, stop: int) -> Properties:
    """Read the flags and the properties that stand in `data[start:stop]`.

    Raises:
        Unreadable: they are not valid AMQP.
    """
    values: list[Any] = [None] * len(KINDS)
    try:
        flags = data[start] << 8 | data[start + 1]
        at = start + 2
        for place, kind in _present(flags):
            if kind is SHORT:
                end = at + 1 + data[at]
                values[place] = data[at + 1 : end].decode()
            elif kind is OCTET:
                end = at + 1
                values[place] = data[at]
            elif kind is TIME:
                end = at + _TIME.size
                (values[place],) = _TIME.unpack_from(data, at)
            else:
                end = at + _SIZE.size + _SIZE.unpack_from(data, at)[0]
                if end > stop:
                    raise Unreadable("headers that are longer than their frame")
                values[place] = read_table(data, at + _SIZE.size, end)
            at = end
    except (ValueError, LookupError, struct.error, ArithmeticError, OSError, RecursionError) as exc:
        raise Unreadable(str(exc)) from exc
    if at > stop or flags & UNKNOWN_FLAGS:
        raise Unreadable("they are longer than their frame, or of a kind that AMQP 0-9-1 lacks")
    return Properties(*values)


def write_properties(properties: Properties) -> bytes:
    """The flags and the properties, as a content header bears them.

    Raises:
        Unsendable: AMQP can't carry one of them.
    """
    flags = 0
    parts = [b""]
    try:
        for place, value in enumerate(astuple(properties)):
            if value is not None:
                flags |= FIRST_FLAG >> place
                parts.append(WRITERS[place](value))
    except (ValueError, TypeError, ArithmeticError, RecursionError, struct.error) as exc:
        raise Unsendable(str(exc)) from exc
    parts[0] = _FLAGS.pack(flags)
    return b"".join(parts)


def _octet(value: int) -> bytes:
    return b"%c" % value


_WRITER_OF: Mapping[str, Callable[[Any], bytes]] = {
    SHORT: short_string,
    TABLE: write_table,
    OCTET: _octet,
    TIME: _TIME.pack,
}
WRITERS: Sequence[Callable[[Any], bytes]] = [_WRITER_OF[kind] for kind in KINDS]
