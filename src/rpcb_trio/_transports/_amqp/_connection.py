"""One connection to a broker: opened within a time limit, its end reported, closed in bounded time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import aiormq
import anyio
from aiormq.connection import TransportFactory
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.commands import Connection

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp._boundary import describe, open_error
from rpcb_trio._transports._amqp._limits import largest_message
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._tls import tls_context
from rpcb_trio._transports._amqp._url import Address

CLOSE_SECONDS = 2.0
"""How long a broker may take to say goodbye."""

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until a host's next address is tried beside one that does not answer; trio's own (RFC 8305)."""

RENEW_SECONDS = 10.0
"""How long a broker may take to look at a new password."""


class _OnSocket(TransportFactory):
    """Speaks over a socket that is connected, or connects, and can cut it."""

    def __init__(self, connected: socket.socket | None, address: Address) -> None:
        self._socket = connected
        self._address = address
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, tls: ssl.SSLContext | None) -> None:
        """Open the streams; before aiormq asks for them, since it would log each failure as an error."""
        name = self._address.host if tls else None
        where = self._where()
        self._reader, self._writer = await asyncio.open_connection(**where, ssl=tls, server_hostname=name)

    async def create(self, *_: Any, **__: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Give aiormq the open streams."""
        assert self._writer is not None  # noqa: S101 - for the type checker
        return self._reader, self._writer

    def _where(self) -> dict[str, Any]:
        if self._socket is not None:
            return {"sock": self._socket}
        where: dict[str, Any] = {"host": self._address.host, "port": self._address.port}
        if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):  # uvloop tries one after the other
            where["happy_eyeballs_delay"] = HAPPY_EYEBALLS_DELAY
        return where

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The streams' TLS, if any."""
        return None if self._writer is None else self._writer.get_extra_info("ssl_object")

    def cut(self) -> None:
        """Close the socket at once, whatever is on its way."""
        if self._writer is not None:
            self._writer.transport.abort()
        elif self._socket is not None:
            self._socket.close()


class _Connection(aiormq.Connection):
    """Passes on that the broker has blocked it; aiormq only writes that into its log."""

    tell_blocked: Callable[[str | None], None] = staticmethod(lambda _: None)

    # The names as Python mangles them; a test on a real broker tells if aiormq has others.
    async def _Connection__handle_connection_blocked(self, frame: Connection.Blocked) -> None:  # noqa: N802 - aiormq's name
        self.tell_blocked(frame.reason or "no reason given")

    async def _Connection__handle_connection_unblocked(self, _: Connection.Unblocked) -> None:  # noqa: N802 - aiormq's name
        self.tell_blocked(None)


class Link:
    """An open connection."""

    def __init__(self, loop: AioLoop, connection: _Connection, factory: _OnSocket) -> None:
        self._loop = loop
        self._password = connection.url.password
        self._connection = connection
        self._factory = factory

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self._connection.is_opened

    @property
    def server_properties(self) -> Mapping[str, object]:
        """What the broker says of itself."""
        return cast(Mapping[str, object], self._connection.server_properties)

    @property
    def heartbeat(self) -> int:
        """Seconds; 0 for none."""
        return int(self._connection.heartbeat_timeout or 0)

    @property
    def vhost(self) -> str:
        """The virtual host that we are in."""
        return self._connection.vhost

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS that it is on; None where it is on none."""
        return self._factory.tls

    @property
    def largest_message(self) -> int | None:
        """The largest body, in bytes, that such a broker takes by default; None where that is not known."""
        return largest_message(self.server_properties)

    async def renew(self, password: str) -> bool:
        """Tell the broker a password or token that has changed; False if it is the old one.

        Raises:
            SessionLost: the broker would not have it, or is gone.
        """
        if password == self._password:
            return False
        await self._loop.call(self._update_secret, password)
        self._password = password
        return True

    async def _update_secret(self, password: str) -> None:
        await self._connection.update_secret(password, reason="renewed", timeout=RENEW_SECONDS)

    def on_close(self, report: Callable[[str], None]) -> None:
        """Have `report` called with the reason once the connection ends."""
        self._connection.closing.add_done_callback(self.told(report))

    def on_blocked(self, report: Callable[[str | None], None]) -> None:
        """Have `report` called with the reason when the broker blocks it, with None at the end of that."""
        self._connection.tell_blocked = report

    def told(self, report: Callable[[str], None]) -> Callable[[asyncio.Future[Any]], None]:
        """A callback for the `closing` of this connection or a channel of it."""
        return lambda closing: report(self._reason(None if closing.cancelled() else closing.exception()))

    def _reason(self, exc: BaseException | None) -> str:
        heartbeat = self._connection.heartbeat_timeout
        if heartbeat and self._connection.is_connection_was_stuck:
            return f"nothing was heard from the broker in {3 * (heartbeat + 1)} s (heartbeat={heartbeat})"
        return describe(exc) if exc is not None else "the connection has closed"

    async def channel(self, *, confirms: bool = False) -> aiormq.Channel:
        """Open a channel; asyncio-flavoured."""
        if not self.is_open:  # aiormq would wait for ever, or raise a bare RuntimeError
            raise ChannelInvalidStateError("the connection has closed")
        # The prefetch bounds what comes in; a bound on frames would only cost switches between tasks.
        channel = await self._connection.channel(publisher_confirms=confirms, frame_buffer_size=0)
        return cast(aiormq.Channel, channel)

    async def close(self) -> None:
        """Say goodbye, wait `CLOSE_SECONDS` at most, then cut; even when cancelled."""
        try:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(SessionLost):
                await self._loop.call(self._connection.close)
        finally:
            self._factory.cut()


async def dial(loop: AioLoop, address: Address, *, name: str, connect_timeout: float) -> Link:
    """Connect and log in, within `connect_timeout` seconds.

    Raises:
        LoginRefused: the broker refused the user, the password, the virtual host or the certificate.
        SessionLost: it can't be reached, or it hung up.
        SettingError: a file that the URL names can't be used.
    """
    with anyio.move_on_after(connect_timeout):
        tls = await anyio.to_thread.run_sync(tls_context, address) if address.is_tls else None
        try:
            connected = await loop.open_socket(address.host, address.port)
        except OSError as exc:
            raise open_error(exc, address) from exc
        return await _log_in(loop, address, name, connected, tls)
    raise SessionLost(
        f"{address.host}:{address.port} did not answer within {connect_timeout:g} s (connect_timeout)"
    )


async def _log_in(
    loop: AioLoop, address: Address, name: str, connected: socket.socket | None, tls: ssl.SSLContext | None
) -> Link:
    factory = _OnSocket(connected, address)

    async def log_in() -> Link:
        connection = _Connection(
            address.url,
            context=tls,
            transport_factory=factory,
            client_properties={"connection_name": name},
        )
        await factory.open(tls)
        await connection.connect()
        return Link(loop, connection, factory)

    try:
        return await loop.call(log_in, on_error=lambda exc: open_error(exc, address))
    except BaseException:
        factory.cut()
        raise
