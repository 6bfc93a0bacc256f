"""One connection to a broker: opened within a time limit, closed in bounded time, its end reported."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiormq
import trio
from aiormq.abc import AbstractChannel
from aiormq.connection import TransportFactory
from yarl import URL

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._url import Address

CLOSE_SECONDS = 3.0
"""How long a broker may take to say goodbye."""


class _OnSocket(TransportFactory):
    """Speaks over a socket that is connected already, and can cut it."""

    def __init__(self, connected: socket.socket, host: str) -> None:
        self._socket = connected
        self._host = host
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = await kwargs["ssl_context_provider"].get_context() if url.scheme == "amqps" else None
        name = self._host if tls else None
        reader, self._writer = await asyncio.open_connection(sock=self._socket, ssl=tls, server_hostname=name)
        return reader, self._writer

    def cut(self) -> None:
        if self._writer is None:
            self._socket.close()
        else:
            self._writer.transport.abort()


class Link:
    """An open connection."""

    def __init__(self, loop: AioLoop, connection: aiormq.Connection, factory: _OnSocket) -> None:
        self._loop = loop
        self._connection = connection
        self._factory = factory

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self._connection.is_opened

    def on_close(self, report: Callable[[str], None]) -> None:
        """Have `report` called with the reason once the connection ends."""

        def closed(closing: asyncio.Future[Any]) -> None:
            exc = closing.exception() if not closing.cancelled() else None
            report(self._reason(exc))

        self._connection.closing.add_done_callback(closed)

    def _reason(self, exc: BaseException | None) -> str:
        if self._connection.is_connection_was_stuck:
            return f"no heartbeat from the broker in {3 * (self._connection.heartbeat_timeout + 1)} s"
        return describe(exc) if exc is not None else "the connection has closed"

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        """Open a channel; asyncio-flavoured."""
        # The prefetch bounds what comes in, so a bound on frames would only cost switches between tasks.
        return await self._connection.channel(publisher_confirms=confirms, frame_buffer_size=0)

    async def close(self) -> None:
        """Say goodbye, wait a few seconds at most, then cut; even when cancelled."""
        with trio.move_on_after(CLOSE_SECONDS, shield=True), suppress(SessionLost):
            await self._loop.call(self._connection.close)
        self._factory.cut()


async def dial(loop: AioLoop, address: Address, *, name: str, connect_timeout: float) -> Link:
    """Connect and log in, within `connect_timeout` seconds.

    Raises:
        LoginRefused: the broker refused the user, the password, the virtual host or the certificate.
        SessionLost: it can't be reached, or it hung up.
    """
    with trio.move_on_after(connect_timeout):
        return await _dial(loop, address, name)
    raise SessionLost(
        f"{address.host}:{address.port} did not answer within {connect_timeout:g} s (connect_timeout)"
    )


async def _dial(loop: AioLoop, address: Address, name: str) -> Link:
    stream = await trio.open_tcp_stream(address.host, address.port)
    connected = socket.socket(fileno=stream.socket.detach())
    factory = _OnSocket(connected, address.host)

    async def connect() -> Link:
        connection = aiormq.Connection(
            address.url, transport_factory=factory, client_properties={"connection_name": name}
        )
        await connection.connect()
        return Link(loop, connection, factory)

    try:
        return await loop.call(connect)
    except BaseException:
        factory.cut()
        raise
