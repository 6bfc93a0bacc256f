"""A gateway behind a real port, and clients that speak HTTP by hand."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import httpx
import trio
import trio.testing

from rpcb_trio.gateway import GatewayOptions, serve_app
from tests.gateway.fronts import Gateway, behind

PATIENCE = 20.0
"""Seconds after which a test that waits has failed."""


@dataclass
class Listening:
    """A gateway that is served on a port."""

    behind: Gateway
    port: int
    tls: ssl.SSLContext | None = None
    drain: trio.Event = field(default_factory=trio.Event)
    streams: list[trio.SocketStream] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    cut: int = -1
    """What `serve_app` returned."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def asking(self) -> httpx.AsyncClient:
        """An HTTP client of it."""
        return httpx.AsyncClient(base_url=self.url, timeout=PATIENCE)

    async def stream(self) -> trio.SocketStream:
        """A bare connection to it; the test's end closes it."""
        self.streams.append(await trio.open_tcp_stream("127.0.0.1", self.port))
        return self.streams[-1]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        while not holds():
            await trio.testing.wait_all_tasks_blocked(0.01)


@asynccontextmanager
async def listening(
    routes: Mapping[str, Any] | None = None,
    options: GatewayOptions = GatewayOptions(),  # noqa: B008 - it is frozen
    *,
    drain_timeout: float = PATIENCE,
    patience: float = PATIENCE,
    tls: ssl.SSLContext | None = None,
    **services: Any,
) -> AsyncIterator[Listening]:
    """Serve the routes on a free port, for `patience` seconds at most; leaving it drains."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        made = await stack.enter_async_context(behind(routes, options, **services))
        nursery = await stack.enter_async_context(trio.open_nursery())
        gateway = Listening(made, listener.getsockname()[1], tls)

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            gateway.cut = await serve_app(
                made.app,
                listener,
                drain=gateway.drain,
                drain_timeout=drain_timeout,
                tls=tls,
                task_status=task_status,
            )
            gateway.ended.set()

        await nursery.start(serve)
        try:
            with trio.fail_after(patience):
                yield gateway
            gateway.drain.set()
            with trio.fail_after(PATIENCE):
                await gateway.ended.wait()
        finally:
            for stream in gateway.streams:
                await trio.aclose_forcefully(stream)


async def status_of(stream: trio.abc.ReceiveStream) -> int | None:
    """The status of the next answer; None where the connection ends without one."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    try:
        while not isinstance(event := reader.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                reader.receive_data(bytes(await stream.receive_some()))
    except (trio.BrokenResourceError, h11.RemoteProtocolError):
        return None
    return event.status_code
