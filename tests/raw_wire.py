"""A producer and a reader of queues that write and read a message's properties as bytes, of any type."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import urlsplit

import trio

from rpcb_trio._transports._codec import _frames as frames
from tests.rabbitmq import Broker
from tests.raw_frames import frame, header, method, short

PATIENCE = 20.0
EMPTY = 60 << 16 | 72
"""`basic.get-empty`."""


async def publish_raw(broker: Broker, queue: str, body: bytes, properties: bytes) -> None:
    """Publish a message with such flags and properties, and wait until the broker has it."""
    await trio.to_thread.run_sync(_publish, broker, queue, body, properties)


async def take_raw(broker: Broker, queue: str) -> tuple[bytes, bytes]:
    """Take the first message off a queue: its flags and properties, and its body."""
    return await trio.to_thread.run_sync(_take, broker, queue)


def _publish(broker: Broker, queue: str, body: bytes, properties: bytes) -> None:
    with _channel(broker) as (way, replies):
        way.sendall(method(85 << 16 | 10, b"\x00"))
        next(replies)
        sent = method(frames.PUBLISH, b"\x00\x00" + short(b"") + short(queue.encode()) + b"\x00")
        way.sendall(sent + header(len(body), properties) + (frame(frames.BODY, body) if body else b""))
        _, confirm = next(replies)
        assert confirm[:4] == struct.pack(">I", frames.ACK), confirm


def _take(broker: Broker, queue: str) -> tuple[bytes, bytes]:
    with _channel(broker) as (way, replies):
        way.sendall(method(60 << 16 | 70, b"\x00\x00" + short(queue.encode()) + b"\x01"))
        _, answer = next(replies)
        assert answer[:4] != struct.pack(">I", EMPTY), f"{queue} is empty"
        _, content = next(replies)
        (size,) = struct.unpack_from(">Q", content, 4)
        body = b""
        while len(body) < size:
            body += next(replies)[1]
        return content[12:], body


@contextmanager
def _channel(broker: Broker) -> Iterator[tuple[socket.socket, Iterator[tuple[int, bytes]]]]:
    url = urlsplit(broker.url)
    assert url.hostname is not None
    where = url.hostname, url.port or 5672
    with socket.create_connection(where, timeout=PATIENCE) as way, way.makefile("rb") as stream:
        replies = _frames(stream)
        way.sendall(b"AMQP\x00\x00\x09\x01")
        next(replies)
        login = f"\x00{url.username}\x00{url.password}".encode()
        start_ok = struct.pack(">I", 0) + short(b"PLAIN") + struct.pack(">I", len(login)) + login
        way.sendall(method(10 << 16 | 11, start_ok + short(b"en_US"), 0))
        _, tune = next(replies)
        way.sendall(method(10 << 16 | 31, tune[4:10] + b"\x00\x00", 0))
        way.sendall(method(10 << 16 | 40, short(b"/") + b"\x00\x00", 0))
        next(replies)
        way.sendall(method(20 << 16 | 10, b"\x00"))
        next(replies)
        yield way, replies


def _frames(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The kind and the payload of each frame that comes."""
    while True:
        kind, _, size = struct.unpack(">BHI", stream.read(7))
        payload = stream.read(size)
        stream.read(1)
        yield kind, payload
