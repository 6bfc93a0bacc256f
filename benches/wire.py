"""A plain socket to the broker, logged in, with one channel: for what speaks AMQP by hand."""

from __future__ import annotations

import socket
import struct
from typing import TypeVar

import pika  # type: ignore[import-untyped] # it carries no types
from pamqp import base, commands, frame

HEAD = struct.Struct(">BHI")
METHOD, HEADER, BODY = 1, 2, 3
CHANNEL = 1
SILENCE = 30.0
"""Seconds without a word until the other side is given up."""
MethodT = TypeVar("MethodT", bound=base.Frame)


class Wire:
    """What is rare goes through here, blocking; once that is done, the socket is the owner's."""

    def __init__(self, url: str) -> None:
        where = pika.URLParameters(url)
        if where.ssl_options is not None:
            raise SystemExit("this bench speaks over a plain socket; give an amqp:// URL")
        self.socket = socket.create_connection((where.host, where.port), timeout=SILENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect(commands.Connection.Start)
        login = f"\0{where.credentials.username}\0{where.credentials.password}"
        tune = self.ask(commands.Connection.StartOk({}, "PLAIN", login), commands.Connection.Tune, 0)
        self.frame_max = tune.frame_max
        self._tell(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        self.ask(commands.Connection.Open(where.virtual_host), commands.Connection.OpenOk, 0)
        self.ask(commands.Channel.Open(), commands.Channel.OpenOk)

    def ask(self, method: frame.FrameTypes, expected: type[MethodT], channel: int = CHANNEL) -> MethodT:
        """Send a method and take its answer; not a byte more is read."""
        self._tell(method, channel)
        return self._expect(expected)

    def _tell(self, method: frame.FrameTypes, channel: int) -> None:
        self.socket.sendall(frame.marshal(method, channel))

    def _expect(self, expected: type[MethodT]) -> MethodT:
        head = self._read(HEAD.size)
        _, _, got = frame.unmarshal(head + self._read(HEAD.unpack(head)[2] + 1))
        if not isinstance(got, expected):
            raise SystemExit(f"the broker answered {got} where {expected.__name__} was due")
        return got

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                raise SystemExit("the broker closed the connection")
            data += chunk
        return data
