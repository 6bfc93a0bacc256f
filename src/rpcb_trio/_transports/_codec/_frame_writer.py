"""Writing the frames of the data plane: messages that are published, and what settles deliveries. Pure.

What it makes are the pieces of whole frames (see `_frames`), so that a body is never copied here.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from rpcb_trio._transports._codec._frames import (
    ACK,
    BASIC,
    BODY,
    CANCEL,
    END,
    HEADER,
    METHOD,
    NACK,
    OVERHEAD,
    PUBLISH,
    REJECT,
    SETTLE_SIZE,
)
from rpcb_trio._transports._codec._properties import Properties, write_properties
from rpcb_trio._transports._codec._tables import Unsendable, short_string

_NUMBER_SIZE: Final = 4
_CONTENT_SIZE: Final = 12
"""Bytes of a method's number, and of a content header without its properties."""

_METHOD = struct.Struct(">BHII")
NO_WAIT: Final = 1
_PUBLISH = struct.Struct(">BHIIH")
_CONTENT_FRAME = struct.Struct(">BHIHHQ")
_END = bytes([END])
_END_AND_HEAD = struct.Struct(">BBHI")
_SETTLE = struct.Struct(">BHIIQBB")
REQUEUE: Final = 0b10
"""A nack's second bit; the first would be for all up to the tag."""


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


def reject(channel: int, tag: int) -> bytes:
    """Have the broker dead-letter a delivery."""
    return _SETTLE.pack(METHOD, channel, SETTLE_SIZE, REJECT, tag, False, END)  # noqa: FBT003 - AMQP's bit


def requeue(channel: int, tag: int) -> bytes:
    """Have the broker deliver it again, by a nack: from RabbitMQ 4.3 on, that counts towards no limit."""
    return _SETTLE.pack(METHOD, channel, SETTLE_SIZE, NACK, tag, REQUEUE, END)


def cancel(channel: int, consumer: str) -> bytes:
    """End a consumer, without an answer: nothing that is requeued afterwards is delivered to it."""
    name = short_string(consumer)
    size = _NUMBER_SIZE + len(name) + 1
    return b"%b%b%c%c" % (_METHOD.pack(METHOD, channel, size, CANCEL), name, NO_WAIT, END)
