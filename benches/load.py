"""A closed-loop producer that costs as little as it can: `python -m benches.load LOAD`, a `Load` as JSON.

It shares the machine with the server that is measured, so it speaks AMQP over a plain socket: its requests
are marshalled once, and a reply is only looked at, never decoded. It still checks that each request is
answered once, with its own body and its own correlation id.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

import msgspec
import pika  # type: ignore[import-untyped] # it carries no types
from pamqp import base, body, commands, frame, header

HEAD = struct.Struct(">BHI")
HEADER, BODY = 2, 3
CHANNEL = 1
MethodT = TypeVar("MethodT", bound=base.Frame)
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
NUMBER = b"%08d"
PLACE = b"#" * 8
"""Where a request's number goes, in its correlation id and at the beginning of its body."""
SILENCE = 60.0
"""Seconds without a reply until the server is given up."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: `messages` requests, at most `in_flight` of them unanswered at any time."""

    url: str
    queue: str
    messages: int
    in_flight: int
    body_size: int


class Wire:
    """One channel to the broker."""

    def __init__(self, url: str) -> None:
        where = pika.URLParameters(url)
        if where.ssl_options is not None:
            raise SystemExit("the load is sent over a plain socket; give an amqp:// URL")
        self._socket = socket.create_connection((where.host, where.port), timeout=SILENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb", buffering=1 << 18)
        self.send(b"AMQP\x00\x00\x09\x01")
        self._ask(None, commands.Connection.Start)
        login = f"\0{where.credentials.username}\0{where.credentials.password}"
        tune = self._ask(commands.Connection.StartOk({}, "PLAIN", login), commands.Connection.Tune)
        self.frame_max = tune.frame_max
        self._tell(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self._ask(commands.Connection.Open(where.virtual_host), commands.Connection.OpenOk)
        self._ask(commands.Channel.Open(), commands.Channel.OpenOk, CHANNEL)

    def consume_replies(self) -> None:
        """Take the replies to what is published here."""
        self._ask(
            commands.Basic.Consume(queue=DIRECT_REPLY_TO, no_ack=True), commands.Basic.ConsumeOk, CHANNEL
        )

    def send(self, data: bytes) -> None:
        """Send marshalled frames."""
        self._socket.sendall(data)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield the frames that come in: each one's type and payload."""
        while True:
            head = self._stream.read(HEAD.size)
            if len(head) < HEAD.size:
                raise SystemExit("the broker closed the connection")
            kind, _, size = HEAD.unpack(head)
            yield kind, self._stream.read(size + 1)[:-1]

    def _tell(self, method: frame.FrameTypes, channel: int = 0) -> None:
        self.send(frame.marshal(method, channel))

    def _ask(self, method: frame.FrameTypes | None, expected: type[MethodT], channel: int = 0) -> MethodT:
        if method is not None:
            self._tell(method, channel)
        kind, payload = next(self.frames())
        _, _, got = frame.unmarshal(HEAD.pack(kind, channel, len(payload)) + payload + b"\xce")
        if not isinstance(got, expected):
            raise SystemExit(f"the broker answered {type(method).__name__} with {got}")
        return got


def request_template(load: Load, frame_max: int) -> bytes:
    """The frames of a request, with `PLACE` wherever its number goes."""
    content = PLACE.ljust(load.body_size, b"x")
    properties = commands.Basic.Properties(
        content_type="application/octet-stream",
        delivery_mode=1,
        correlation_id=PLACE.decode(),
        reply_to=DIRECT_REPLY_TO,
    )
    most = frame_max - HEAD.size - 1
    frames: list[frame.FrameTypes] = [
        commands.Basic.Publish(routing_key=load.queue),
        header.ContentHeader(0, len(content), properties),
    ]
    frames += [body.ContentBody(content[at : at + most]) for at in range(0, len(content), most)]
    return b"".join(frame.marshal(each, CHANNEL) for each in frames)


def replies(wire: Wire) -> Iterator[bytes]:
    """Yield the number of each request that is answered."""
    head: bytes | None = None
    for kind, payload in wire.frames():
        if kind == HEADER:
            head = payload
        elif kind == BODY and head is not None:  # of a long body, its first frame
            number = payload[: len(PLACE)]
            if number not in head:
                raise SystemExit(f"request {number!r} was answered with another one's correlation id")
            head = None
            yield number


def send(load: Load) -> None:
    """Send all of it from a process of its own, and return when all is answered.

    Raises:
        subprocess.CalledProcessError: it was not, or not as it should be; the process has said why.
    """
    command = [sys.executable, "-m", "benches.load", msgspec.json.encode(load).decode()]
    subprocess.run(command, check=True)  # noqa: S603 - it is this module


def produce(load: Load) -> None:
    """Send all of it from here."""
    wire = Wire(load.url)
    wire.consume_replies()
    template = request_template(load, wire.frame_max)
    waiting = (template.replace(PLACE, NUMBER % number) for number in range(load.messages))
    burst = max(1, load.in_flight // 8)
    answered: set[bytes] = set()
    wire.send(b"".join(islice(waiting, load.in_flight)))
    for number in replies(wire):
        if number in answered:
            raise SystemExit(f"request {number!r} was answered twice")
        answered.add(number)
        if len(answered) == load.messages:
            return
        if len(answered) % burst == 0:
            wire.send(b"".join(islice(waiting, burst)))


if __name__ == "__main__":
    produce(msgspec.json.decode(sys.argv[1], type=Load))
