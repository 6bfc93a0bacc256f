"""The few frames that the floor knows: requests and confirms come in, replies and acks go out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from benches.servers.job import DIRECT_REPLY_TO
from benches.wire import BODY, CHANNEL, HEAD, HEADER, METHOD

ROOM = 1 << 20
"""Bytes of what came and is not looked at yet; several times the largest frame."""
END = b"\xce"
BASIC = 60
DELIVER, ACK, PUBLISH = (BASIC << 16 | method for method in (60, 80, 40))
CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
PRIORITY, CORRELATION_ID, REPLY_TO = 1 << 11, 1 << 10, 1 << 9

CLASS_AND_METHOD = Struct(">I")
CONFIRM = Struct(">QB")
CONTENT = Struct(">HHQH")
CONTENT_HEAD = Struct(">BHIHHQH")
ACK_FRAME = Struct(">BHIIQBB")
PROPERTIES = b"\x18application/octet-stream\x01"


class Request(NamedTuple):
    reply_to: bytes
    correlation_id: bytes | None
    body: bytes


class Inbox:
    """What a socket has received, frame by frame, without moving a byte of a frame that is whole."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._data = bytearray(ROOM)
        self._view = memoryview(self._data)
        self._start = self._end = 0

    def receive(self) -> Iterator[tuple[int, memoryview]]:
        """Receive once; yield the type and payload of each frame that is whole now."""
        if self._end > ROOM // 2:
            left = self._end - self._start
            self._data[:left] = self._data[self._start : self._end]
            self._start, self._end = 0, left
        count = self._source.recv_into(self._view[self._end :])
        if not count:
            raise SystemExit("the broker closed the connection")
        self._end += count
        return self._frames()

    def _frames(self) -> Iterator[tuple[int, memoryview]]:
        while self._end - self._start >= HEAD.size:
            kind, _, size = HEAD.unpack_from(self._data, self._start)
            begin = self._start + HEAD.size
            if begin + size >= self._end:
                return
            self._start = begin + size + 1
            yield kind, self._view[begin : begin + size]
        if self._start == self._end:
            self._start = self._end = 0


class Deliveries:
    def __init__(self) -> None:
        self._size = 0
        self._to: tuple[bytes, bytes | None] = b"", None
        self._parts: list[bytes] = []

    def requests(self, frames: Iterator[tuple[int, memoryview]]) -> Iterator[Request]:
        for kind, payload in frames:
            if kind == BODY:
                self._parts.append(bytes(payload))
                self._size -= len(payload)
            elif kind == HEADER:
                _, _, self._size, flags = CONTENT.unpack_from(payload)
                self._to = addressee(payload, flags)
            elif CLASS_AND_METHOD.unpack_from(payload)[0] == DELIVER:
                continue  # its tag is known: they are counted from one
            else:
                raise SystemExit("the broker sent what was not asked for")
            if self._size == 0:
                yield Request(*self._to, b"".join(self._parts))
                self._parts = []


def addressee(payload: memoryview, flags: int) -> tuple[bytes, bytes | None]:
    """The address of the caller, and its correlation id."""
    at = CONTENT.size
    for flag in (CONTENT_TYPE, CONTENT_ENCODING):
        at += 1 + payload[at] if flags & flag else 0
    at += 4 + int.from_bytes(payload[at : at + 4], "big") if flags & HEADERS else 0
    at += (flags & DELIVERY_MODE > 0) + (flags & PRIORITY > 0)
    correlation_id = None
    if flags & CORRELATION_ID:
        correlation_id = bytes(payload[at : at + 1 + payload[at]])
        at += len(correlation_id)
    if not flags & REPLY_TO:
        raise SystemExit("the floor needs a reply_to in each request")
    return bytes(payload[at + 1 : at + 1 + payload[at]]), correlation_id


def confirms(frames: Iterator[tuple[int, memoryview]]) -> Iterator[tuple[int, bool]]:
    """The number of each reply that the broker has taken, and whether it means all before it too."""
    for kind, payload in frames:
        if kind == METHOD and CLASS_AND_METHOD.unpack_from(payload)[0] == ACK:
            number, multiple = CONFIRM.unpack_from(payload, CLASS_AND_METHOD.size)
            yield number, bool(multiple)
        else:
            raise SystemExit("the broker did not take a reply")


def frame(kind: int, payload: bytes) -> bytes:
    return HEAD.pack(kind, CHANNEL, len(payload)) + payload + END


@lru_cache(maxsize=1024)  # a producer has one address for all its requests
def publish(reply_to: bytes) -> bytes:
    """The frame that says where a reply goes; the broker hands back every `mandatory` direct one."""
    mandatory = not reply_to.startswith(DIRECT_REPLY_TO.encode())
    key = bytes([len(reply_to)]) + reply_to
    return frame(METHOD, CLASS_AND_METHOD.pack(PUBLISH) + b"\0\0\0" + key + bytes([mandatory]))


def reply(request: Request, body: bytes, frame_max: int) -> bytes:
    name, flags = request.correlation_id or b"", CONTENT_TYPE | DELIVERY_MODE
    if name:
        flags |= CORRELATION_ID
    size = CONTENT.size + len(PROPERTIES) + len(name)
    head = CONTENT_HEAD.pack(HEADER, CHANNEL, size, BASIC, 0, len(body), flags)
    most = frame_max - HEAD.size - len(END)
    pieces = [body] if len(body) <= most else [body[at : at + most] for at in range(0, len(body), most)]
    content = b"".join([frame(BODY, piece) for piece in pieces if piece])
    return b"%b%b%b%b\xce%b" % (publish(request.reply_to), head, PROPERTIES, name, content)


def ack(number: int) -> bytes:
    """The frame that acks all requests up to this one."""
    return ACK_FRAME.pack(METHOD, CHANNEL, 13, ACK, number, 1, END[0])
