"""A wire between two sockets, and what it tells, under trio and under asyncio."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from threading import Thread

import anyio
import pytest
import trustme

from rpcb_trio._transports._amqp._data._wire import Wire

LONGEST = 30.0
"""Seconds: no test may wait for ever."""


def under_both(test: Callable[[], Awaitable[None]]) -> Callable[[str], None]:
    async def limited() -> None:
        with anyio.fail_after(LONGEST):
            await test()

    @pytest.mark.parametrize("backend", ["trio", "asyncio"])
    def run(backend: str) -> None:
        anyio.run(limited, backend=backend)

    return run


class Heard:
    """What a wire has told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends: list[Exception | None] = []
        self.has_ended = anyio.Event()
        self._more = anyio.Event()

    def take(self, data: bytes) -> None:
        self.data += data
        self._more.set()
        self._more = anyio.Event()

    def end(self, exc: Exception | None) -> None:
        self.ends.append(exc)
        self.has_ended.set()

    async def until(self, size: int) -> bytes:
        while len(self.data) < size:
            await self._more.wait()
        return bytes(self.data)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that take little at a time."""
    near, far = socket.socketpair()
    for each in (near, far):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return near, far


@asynccontextmanager
async def wired(near: socket.socket) -> AsyncIterator[tuple[Wire, Heard]]:
    heard = Heard()
    wire = Wire(near, heard.take, heard.end)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.run)
        yield wire, heard
        wire.cut()
    assert near.fileno() == -1, "the socket is closed"


def take_exactly(far: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = far.recv(10_000)
        assert piece, "the other side hung up"
        found += piece
    return bytes(found)


async def taken(far: socket.socket, size: int) -> bytes:
    return await anyio.to_thread.run_sync(take_exactly, far, size)


AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)


def answer_over_tls(far: socket.socket, size: int) -> None:
    """Send back what comes, over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    try:
        with context.wrap_socket(far, server_side=True) as secured:
            secured.sendall(take_exactly(secured, size))
            secured.recv(1)
    except ssl.SSLError:  # the client does not trust it
        far.close()


@asynccontextmanager
async def tls_server(size: int) -> AsyncIterator[socket.socket]:
    near, far = pair()
    server = Thread(target=answer_over_tls, args=(far, size))
    server.start()
    try:
        yield near
    finally:
        near.close()
        await anyio.to_thread.run_sync(server.join)
