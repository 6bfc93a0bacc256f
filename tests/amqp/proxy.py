"""A way to the broker that can be interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import trio
import trio.testing


class Proxy:
    """Passes bytes between whoever connects to `port` and the broker."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._scopes: list[trio.CancelScope] = []
        self._refuses = False
        self._open_valve = trio.Event()
        self._open_valve.set()
        self.port = 0

    @property
    def url(self) -> str:
        """The broker's URL by this way."""
        return (
            f"amqp://{self._target.username}:{self._target.password}@127.0.0.1:{self.port}{self._target.path}"
        )

    def freeze(self) -> None:
        """Let no more bytes through, and tell nobody; as when a network cable is pulled."""
        if self._open_valve.is_set():
            self._open_valve = trio.Event()

    def thaw(self) -> None:
        """Let through again, first what was held up."""
        self._open_valve.set()

    def cut(self) -> None:
        """Close all connections; new ones are welcome."""
        for scope in self._scopes:
            scope.cancel()

    async def cut_newest(self) -> None:
        """Close the newest connection and wait until that has come through."""
        self._scopes[-1].cancel()
        await trio.testing.wait_all_tasks_blocked(0.01)

    def refuse_more(self) -> None:
        """Hang up on new connections."""
        self._refuses = True

    async def serve(self, client: trio.abc.Stream) -> None:
        """Serve one connection."""
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
            async with client, server, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass, client, server, scope)
                await self._pass(server, client, scope)
        self._scopes.remove(scope)

    async def _pass(self, source: trio.abc.Stream, sink: trio.abc.Stream, both: trio.CancelScope) -> None:
        try:
            async for chunk in source:
                await self._open_valve.wait()
                await sink.send_all(chunk)
        except trio.BrokenResourceError:
            pass
        both.cancel()  # who hangs up on one side hangs up on both


@asynccontextmanager
async def open_proxy(target: str) -> AsyncIterator[Proxy]:
    """Listen on a free port and pass on to the broker at `target`."""
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        proxy.port = listeners[0].socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()
