"""A way to the broker that can be interrupted."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import trio
import trio.testing
from anyio.from_thread import BlockingPortal

Side = Literal["broker", "client"]
Tap = Callable[[int, Side, bytes], None]
"""Takes the connection's number, where the bytes go, and the bytes."""


class Hold:
    """Holds up what goes one way on one connection."""

    def __init__(self) -> None:
        self.has_caught = trio.Event()
        """Set once something is held up."""
        self.let_go = trio.Event()

    async def stop(self) -> None:
        """Hold something up."""
        self.has_caught.set()
        await self.let_go.wait()


class Proxy:
    """Passes bytes between whoever connects to `port` and the broker."""

    def __init__(self, target: str, tap: Tap = lambda *_: None) -> None:
        self._target = urlsplit(target)
        self._tap = tap
        self._scopes: list[trio.CancelScope] = []
        self._refuses = False
        self._open_valve = trio.Event()
        self._open_valve.set()
        self._holds: dict[tuple[int, Side], Hold] = {}
        self._freezing = b""
        self._arrivals = trio.Semaphore(0)
        self._number = 0
        self._clients: dict[int, trio.abc.Stream] = {}
        self.is_frozen = trio.Event()
        """Set once it has frozen because of `freeze_at`."""
        self.port = 0

    @property
    def url(self) -> str:
        """The broker's URL by this way."""
        return (
            f"amqp://{self._target.username}:{self._target.password}@127.0.0.1:{self.port}{self._target.path}"
        )

    @property
    def accepted(self) -> int:
        """How many connections there were."""
        return self._number

    def freeze(self) -> None:
        """Let no more bytes through, and tell nobody; as when a network cable is pulled."""
        if self._open_valve.is_set():
            self._open_valve = trio.Event()

    def freeze_at(self, what: bytes) -> None:
        """Freeze when somebody sends this to the broker."""
        self._freezing = what

    def hold(self, connection: int, towards: Side) -> Hold:
        """Hold up what goes one way on one connection; they are counted from 0."""
        return self._holds.setdefault((connection, towards), Hold())

    def thaw(self) -> None:
        """Let through again, first what was held up."""
        self._open_valve.set()
        for hold in self._holds.values():
            hold.let_go.set()
        self._holds.clear()

    async def arrival(self) -> None:
        """Wait for the next connection."""
        await self._arrivals.acquire()

    def cut(self) -> None:
        """Close all connections; new ones are welcome."""
        for scope in self._scopes:
            scope.cancel()

    def reset(self) -> None:
        """Close all connections with a TCP reset, as a router does that has lost its memory."""
        for client in self._clients.values():
            assert isinstance(client, trio.SocketStream)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    async def say(self, connection: int, what: bytes) -> None:
        """Send the client of a quiet connection something in the broker's name."""
        await self._clients[connection].send_all(what)

    async def cut_newest(self) -> None:
        """Close the newest connection and wait until that has come through."""
        self._scopes[-1].cancel()
        await trio.testing.wait_all_tasks_blocked(0.01)

    def refuse_more(self) -> None:
        """Hang up on new connections."""
        self._refuses = True

    def welcome_more(self) -> None:
        """Let new connections in again."""
        self._refuses = False

    async def serve(self, client: trio.abc.Stream) -> None:
        """Serve one connection."""
        number, self._number = self._number, self._number + 1
        self._arrivals.release()
        if self._refuses:
            await client.aclose()
            return
        try:
            server = await trio.open_tcp_stream(self._target.hostname or "", self._target.port or 5672)
        except OSError:  # the broker is down
            await client.aclose()
            return
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            self._clients[number] = client
            async with client, server, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass, client, server, scope, (number, "broker"))
                await self._pass(server, client, scope, (number, "client"))
        self._scopes.remove(scope)
        del self._clients[number]

    def sift(self, connection: int, towards: Side, chunk: bytes) -> bytes:  # noqa: ARG002 - for others
        """What is passed on of a chunk; for who keeps some of it back."""
        return chunk

    async def _pass(
        self, source: trio.abc.Stream, sink: trio.abc.Stream, both: trio.CancelScope, way: tuple[int, Side]
    ) -> None:
        try:
            async for chunk in source:
                self._tap(*way, bytes(chunk))
                if self._freezing and way[1] == "broker" and self._freezing in chunk:
                    self.freeze()
                    self.is_frozen.set()
                await self._open_valve.wait()
                if way in self._holds:
                    await self._holds[way].stop()
                await sink.send_all(self.sift(*way, bytes(chunk)))
        except trio.BrokenResourceError:
            pass
        both.cancel()  # who hangs up on one side hangs up on both


@asynccontextmanager
async def open_proxy(
    target: str, tap: Tap = lambda *_: None, kind: type[Proxy] | None = None
) -> AsyncIterator[Proxy]:
    """Listen on a free port and pass on to the broker at `target`; `tap` is called with all that comes by."""
    proxy = (kind or Proxy)(target, tap)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        proxy.port = listeners[0].socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()


@contextmanager
def proxied(portal: BlockingPortal, target: str) -> Iterator[Proxy]:
    """As `open_proxy`, for threads; what is called on it goes through the portal."""
    with portal.wrap_async_context_manager(open_proxy(target)) as proxy:
        yield proxy
