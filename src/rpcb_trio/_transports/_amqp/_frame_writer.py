"""Writing the frames of the data plane: messages that are published, and what settles deliveries. Pure.

What it makes are the pieces of whole frames (`_frames` tells of them), so that a body is never copied here.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from rpcb_trio._transports._amqp._frames import (
    ACK,
    BASIC,
    BODY,
    END,
    HEADER,
    METHOD,
    NACK,
    OVERHEAD,
    PUBLISH,
    REJECT,
    SETTLE_SIZE,
)
from rpcb_trio._transports._amqp._properties import Properties, write_properties
from rpcb_trio._transports._amqp._tables import Unsendable, short_string

_NUMBER_SIZE: Final = 4
_CONTENT_SIZE: Final = 12
"""Bytes of a method's number, and of a content header without its properties."""

_PUBLISH = struct.Struct(">BHIIH")
_CONTENT_FRAME = struct.Struct(">BHIHHQ")
_END = bytes([END])
_END_AND_HEAD = struct.Struct(">BBHI")
_SETTLE = struct.Struct(">BHIIQBB")
MULTIPLE: Final = 1
REQUEUE: Final = 2
"""Bits of `basic.nack`."""


def publish(
    channel: int,
    exchange: str,
    routing_key: str,
    properties: Properties,
    body: bytes,
    *,
    mandatory: bool,
    frame_max: int,
) -> list[bytes | memoryview]:
    """The pieces of a message that is published, to be written one behind the other.

    Raises:
        Unsendable: AMQP can't carry its address or its properties.
    """
    written = write_properties(properties)
    size = len(body)
    head = _CONTENT_FRAME.pack(HEADER, channel, _CONTENT_SIZE + len(written), BASIC, 0, size)
    if _CONTENT_SIZE + len(written) > frame_max - OVERHEAD:
        raise Unsendable(f"its properties have {len(written)} bytes, more than a frame of {frame_max} holds")
    pieces: list[bytes | memoryview] = [_address(channel, exchange, routing_key, mandatory), head, written]
    most = frame_max - OVERHEAD
    if 0 < size <= most:
        pieces += (_END_AND_HEAD.pack(END, BODY, channel, size), body)
    elif size:
        view = memoryview(body)
        for at in range(0, size, most):
            piece = view[at : at + most]
            pieces += (_END_AND_HEAD.pack(END, BODY, channel, len(piece)), piece)
    pieces.append(_END)
    return pieces


@lru_cache(maxsize=1024)
def _address(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - AMQP's bit
    """The frame of the method; most messages go where others went."""
    where = short_string(exchange) + short_string(routing_key)
    size = _NUMBER_SIZE + 2 + len(where) + 1
    return b"%b%b%c%c" % (_PUBLISH.pack(METHOD, channel, size, PUBLISH, 0), where, mandatory, END)


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Tell the broker that a delivery is done with, or all up to it."""
    return _SETTLE.pack(METHOD, channel, SETTLE_SIZE, ACK, tag, multiple, END)


def nack_up_to(channel: int, tag: int) -> bytes:
    """Give all deliveries up to this one back."""
    return _SETTLE.pack(METHOD, channel, SETTLE_SIZE, NACK, tag, MULTIPLE | REQUEUE, END)


def reject(channel: int, tag: int, *, requeue: bool) -> bytes:
    """Give a delivery back, or have the broker dead-letter it."""
    return _SETTLE.pack(METHOD, channel, SETTLE_SIZE, REJECT, tag, requeue, END)
