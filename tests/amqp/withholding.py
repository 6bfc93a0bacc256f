"""A way to the broker on which the confirms of messages to one queue are kept back."""

from __future__ import annotations

from tests.amqp.proxy import Proxy, Side

ACK, PUBLISH = 60 << 16 | 80, 60 << 16 | 40
CHANNEL_OPEN = 20 << 16 | 10
"""Class and method of frames."""

HEAD = 7
"""Bytes of a frame before its payload; one more ends it."""


class _Way:
    """What is known of one connection."""

    def __init__(self) -> None:
        self.rest: dict[Side, bytes] = {"broker": b"", "client": b""}
        self.published: dict[int, int] = {}
        """How many messages, by channel."""
        self.unconfirmed: dict[int, set[int]] = {}
        """Their numbers, by channel, until the broker confirms them, in whatever order."""
        self.withheld: dict[int, set[int]] = {}
        """The numbers of messages to that queue."""
        self.held: list[bytes] = []
        """Their confirms."""


class Withholding(Proxy):
    """As a quorum queue without a majority: what is sent to `queue` is taken, and never confirmed."""

    queue: bytes | None = None
    """Whose confirms are kept back; None for nobody's, and then those that were come with the next bytes."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # as they are
        self._ways: dict[int, _Way] = {}

    def sift(self, connection: int, towards: Side, chunk: bytes) -> bytes:
        way = self._ways.setdefault(connection, _Way())
        frames, way.rest[towards] = split(way.rest[towards] + chunk)
        if towards == "broker":
            for frame in frames:
                self._count(frame, way)
            return b"".join(frames)
        passed = [] if self.queue is not None else way.held
        if self.queue is None:
            way.held = []
            way.withheld.clear()
        for frame in frames:
            passed += self._let_pass(frame, way)
        return b"".join(passed)

    def _count(self, frame: bytes, way: _Way) -> None:
        method, channel = method_of(frame), int.from_bytes(frame[1:3])
        if method == CHANNEL_OPEN:
            for each in (way.published, way.unconfirmed, way.withheld):
                each.pop(channel, None)
        elif method == PUBLISH:
            number = way.published[channel] = way.published.get(channel, 0) + 1
            way.unconfirmed.setdefault(channel, set()).add(number)
            if self.queue is not None and self.queue in frame:
                way.withheld.setdefault(channel, set()).add(number)

    def _let_pass(self, frame: bytes, way: _Way) -> list[bytes]:
        channel = int.from_bytes(frame[1:3])
        withheld = way.withheld.get(channel)
        if method_of(frame) != ACK:
            return [frame]
        at = HEAD + 4
        tag, is_multiple = int.from_bytes(frame[at : at + 8]), frame[at + 8] & 1
        unconfirmed = way.unconfirmed.get(channel, set())
        confirmed = {n for n in unconfirmed if n <= tag} if is_multiple else {tag}
        unconfirmed -= confirmed
        if not withheld:
            return [frame]
        each = {n: frame[:at] + n.to_bytes(8) + b"\0" + frame[at + 9 :] for n in sorted(confirmed)}
        way.held += [one for n, one in each.items() if n in withheld]
        return [one for n, one in each.items() if n not in withheld]


def method_of(frame: bytes) -> int:
    """Class and method, as one number; 0 where a frame bears none."""
    return int.from_bytes(frame[HEAD : HEAD + 4]) if frame[:1] == b"\x01" else 0


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """Whole frames, and what is left."""
    frames, at = list[bytes](), 0
    if stream.startswith(b"AMQP"):
        if len(stream) < 8:
            return [], stream
        frames, at = [stream[:8]], 8
    while len(stream) - at >= HEAD:
        size = HEAD + int.from_bytes(stream[at + 3 : at + HEAD]) + 1
        if len(stream) - at < size:
            break
        frames.append(stream[at : at + size])
        at += size
    return frames, stream[at:]
