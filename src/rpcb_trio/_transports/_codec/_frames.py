"""The frames of the data plane: what is paid for each message. Pure: bytes to events, messages to bytes.

AMQP 0-9-1 cuts everything into frames: kind, channel and size, a payload, an end octet (section 2.3.5). A
message is three kinds of them in a row on one channel: a method, a content header, and the body in as many
frames as `frame_max` makes of it. Other channels' frames may come between them.

- Deliveries, returned messages and the broker's confirms become events of their own.
- Every other frame becomes a `Control` event and is passed on as it is: opening, closing, declaring and
  heartbeats are aiormq's.
- What no broker may send ends the connection (`MalformedFrame`): behind it nothing can be trusted. A message
  with properties that can't be read costs itself alone.

A body is copied once here: pieces of the read data are kept as views, and joined when all are there.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

import msgspec

from rpcb_trio._transports._codec._properties import (
    Properties,
    Unreadable,
    read_properties,
)

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
KINDS: Final = frozenset({METHOD, HEADER, BODY, HEARTBEAT})
END: Final = 0xCE
OVERHEAD: Final = 8
"""Bytes of a frame beside its payload."""
HEARTBEAT_FRAME: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

BASIC: Final = 60
PUBLISH, RETURN, DELIVER = BASIC << 16 | 40, BASIC << 16 | 50, BASIC << 16 | 60
ACK, REJECT, NACK = BASIC << 16 | 80, BASIC << 16 | 90, BASIC << 16 | 120
CANCEL: Final = BASIC << 16 | 30
"""Class and method in one number, as a method frame begins."""

DEFAULT_FRAME_MAX: Final = 131072
"""RabbitMQ's, and ours where a broker sets no limit."""
LARGEST_FRAME: Final = 2**27
"""Bytes: a frame of a broker that sets no limit must end somewhere."""

_HEAD = struct.Struct(">BHI")
_NUMBER = struct.Struct(">I")
_CONTENT = struct.Struct(">HHQ")
_TAG_AND_BITS = struct.Struct(">QB")
SETTLE_SIZE: Final = 13
"""Bytes of a method that settles or confirms."""


class MalformedFrame(Exception):
    """What no AMQP peer sends."""


class Delivery(msgspec.Struct, frozen=True):
    """A message for a consumer."""

    channel: int
    tag: int
    redelivered: bool
    where: bytes
    """The exchange and the routing key, as the frame has them; see `routing_key`."""
    properties: Properties | None
    """None where they are not valid AMQP."""
    body: bytes

    @property
    def routing_key(self) -> str:
        """What it was published with; what is not UTF-8 in it reads as U+FFFD."""
        start = 1 + self.where[0]
        return self.where[start + 1 : start + 1 + self.where[start]].decode(errors="replace")


class Returned(msgspec.Struct, frozen=True):
    """A message of ours that no queue was bound for."""

    channel: int
    code: int
    properties: Properties | None


class Confirm(msgspec.Struct, frozen=True):
    """The broker's word on messages of ours, up to `tag` where it is `multiple`."""

    channel: int
    tag: int
    multiple: bool
    is_taken: bool


class Control(msgspec.Struct, frozen=True):
    """A frame of the control plane, whole; `method` is 0 where it is no method."""

    channel: int
    method: int
    frame: bytes

    @property
    def arguments(self) -> bytes:
        """What follows the method's number."""
        return self.frame[_HEAD.size + 4 : -1]


Event: TypeAlias = Delivery | Returned | Confirm | Control


class _Content:
    """A message under way: its method and header are here, and so much of its body."""

    __slots__ = ("have", "method", "pieces", "properties", "size")

    def __init__(self, method: _Method, properties: Properties | None, size: int) -> None:
        self.method = method
        self.properties = properties
        self.size = size
        self.have = 0
        self.pieces: list[memoryview] = []

    def event(self, channel: int) -> Event:
        body = b"".join(self.pieces) if type(self.method) is tuple else b""
        return _event(channel, self.method, self.properties, body)


_Method: TypeAlias = tuple[int, bool, bytes] | int
"""Tag, redelivered and where of a delivery; the code of a return."""


def _event(channel: int, method: _Method, properties: Properties | None, body: bytes) -> Event:
    if isinstance(method, tuple):
        return Delivery(channel, method[0], method[1], method[2], properties, body)
    return Returned(channel, method, properties)


class FrameReader:
    """Cuts a connection's incoming bytes, however they are split, into events."""

    def __init__(self) -> None:
        self.frame_max = DEFAULT_FRAME_MAX
        """Bytes of the largest frame that may come; before log-in, more than that needs."""
        self._rest = b""
        self._methods: dict[int, _Method] = {}
        self._contents: dict[int, _Content] = {}
        self._open: int | None = None
        """The channel whose body frame has begun and is not all here, ..."""
        self._missing = 0
        """... and how much of its payload is still to come."""

    def feed(self, data: bytes) -> list[Event]:
        """Take what a read has brought, and return what is complete by now.

        Raises:
            MalformedFrame: it is not AMQP; the connection is of no more use.
        """
        events: list[Event] = []
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0 if self._open is None else self._go_on(data, events)
        end = len(data)
        while end - at >= _HEAD.size:
            kind, channel, size = _HEAD.unpack_from(data, at)
            start = at + _HEAD.size
            stop = start + size
            if size > self.frame_max - OVERHEAD or kind not in KINDS:
                raise MalformedFrame(f"a frame of kind {kind} and {size} bytes")
            if stop >= end:
                if kind == BODY:
                    self._begin(channel, memoryview(data)[start:], size)
                    at = end
                break
            if data[stop] != END:
                raise MalformedFrame(f"a frame of kind {kind} does not end where it should")
            at = stop + 1
            if kind == HEADER:
                at = self._header(channel, data, start, stop, events)
            elif kind == BODY:
                self._piece(channel, memoryview(data)[start:stop])
                self._complete(channel, events)
            elif kind == METHOD:
                self._method(channel, data, start, stop, events)
            else:
                events.append(Control(channel, 0, data[start - _HEAD.size : at]))
        self._rest = data[at:]
        return events

    def _method(self, channel: int, data: bytes, start: int, stop: int, events: list[Event]) -> None:
        if channel in self._methods or channel in self._contents:
            raise MalformedFrame("a method in the middle of a message")
        if stop - start < _NUMBER.size:
            raise MalformedFrame("a method without a number")
        (method,) = _NUMBER.unpack_from(data, start)
        try:
            if method == DELIVER:
                at = start + 5 + data[start + 4]
                tag, bits = _TAG_AND_BITS.unpack_from(data, at)
                where = data[at + _TAG_AND_BITS.size : stop]
                if 2 + where[0] + where[1 + where[0]] != len(where):
                    raise MalformedFrame("a delivery of the wrong length")
                self._methods[channel] = tag, bool(bits & 1), where
            elif method in (ACK, NACK):
                if stop - start != SETTLE_SIZE:
                    raise MalformedFrame("a confirm of the wrong length")
                tag, bits = _TAG_AND_BITS.unpack_from(data, start + 4)
                events.append(Confirm(channel, tag, bool(bits & 1), method == ACK))
            elif method == RETURN:
                self._methods[channel] = read_code(data[start + _NUMBER.size : stop])
            else:
                events.append(Control(channel, method, data[start - _HEAD.size : stop + 1]))
        except (LookupError, struct.error) as exc:
            raise MalformedFrame("a method that is cut short") from exc

    def _header(self, channel: int, data: bytes, start: int, stop: int, events: list[Event]) -> int:
        """Read a content header, and the body too if it stands right behind it; returns where to go on."""
        method = self._methods.pop(channel, None)
        if method is None or stop - start < _CONTENT.size + 2:
            raise MalformedFrame("a content header that belongs to nothing, or is cut short")
        size: int = _CONTENT.unpack_from(data, start)[2]
        try:
            properties = read_properties(data, start + _CONTENT.size, stop)
        except Unreadable:
            properties = None
        at = stop + 1
        first = at + _HEAD.size
        last = first + size
        if size and last < len(data) and _HEAD.unpack_from(data, at) == (BODY, channel, size):
            if data[last] != END or size > self.frame_max - OVERHEAD:
                raise MalformedFrame("a body's frame does not end where it should")
            events.append(_event(channel, method, properties, data[first:last]))
            return last + 1
        if size:
            self._contents[channel] = _Content(method, properties, size)
        else:
            events.append(_event(channel, method, properties, b""))
        return at

    def _piece(self, channel: int, piece: memoryview) -> None:
        content = self._contents.get(channel)
        if content is None:
            raise MalformedFrame("a body that belongs to nothing")
        content.have += len(piece)
        if content.have > content.size:
            raise MalformedFrame("a body that is longer than its header says")
        if piece and type(content.method) is tuple:  # the body of what comes back is not needed
            content.pieces.append(piece)

    def _complete(self, channel: int, events: list[Event]) -> None:
        content = self._contents[channel]
        if content.have == content.size:
            del self._contents[channel]
            events.append(content.event(channel))

    def _begin(self, channel: int, piece: memoryview, size: int) -> None:
        self._piece(channel, piece)
        self._open, self._missing = channel, size - len(piece)
        content = self._contents[channel]
        if content.have + self._missing > content.size:
            raise MalformedFrame("a body that is longer than its header says")

    def _go_on(self, data: bytes, events: list[Event]) -> int:
        """Take more of the body's frame that has begun; returns where to go on."""
        assert self._open is not None  # noqa: S101 - for the type checker
        channel, missing = self._open, self._missing
        self._piece(channel, memoryview(data)[:missing])
        self._missing = max(0, missing - len(data))
        if len(data) <= missing:
            return len(data)
        if data[missing] != END:
            raise MalformedFrame("a body's frame does not end where it should")
        self._open = None
        self._complete(channel, events)
        return missing + 1


def read_code(arguments: bytes) -> int:
    """The number that a method begins with, as those that close something do; 0 where it is cut short."""
    return int.from_bytes(arguments[:2]) if len(arguments) > 1 else 0


def read_text(arguments: bytes) -> str:
    """The short string that a method begins with; what is not UTF-8 in it reads as U+FFFD."""
    return arguments[1 : 1 + arguments[0]].decode(errors="replace") if arguments else ""
