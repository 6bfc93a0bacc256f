"""Frames as bytes, valid and not, for the tests of who reads them."""

from __future__ import annotations

import struct

from rpcb_trio._transports._codec import _frames as frames

TAG = 7


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def method(number: int, arguments: bytes, channel: int = 1) -> bytes:
    return frame(frames.METHOD, struct.pack(">I", number) + arguments, channel)


def header(size: int, properties: bytes) -> bytes:
    return frame(frames.HEADER, struct.pack(">HHQ", frames.BASIC, 0, size) + properties)


DELIVER = method(frames.DELIVER, short(b"consumer") + struct.pack(">QB", TAG, 0) + short(b"") + short(b"q"))
RETURN = method(frames.RETURN, struct.pack(">H", 312) + short(b"NO_ROUTE") + short(b"") + short(b"q"))
BODY = frame(frames.BODY, b"body")
