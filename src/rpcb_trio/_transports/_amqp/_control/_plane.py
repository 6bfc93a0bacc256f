"""aiormq's connection, on a reader that is fed and a writer that passes whole frames on.

It owns the handshake, the log-in, heartbeats, channels, qos, consume, cancel, declares and closes. The data
plane's frames never come near it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

import aiormq
import anyio
from aiormq.connection import TransportFactory

from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._control._errors import NOT_OURS, describe
from rpcb_trio._transports._amqp._control._loop import AioLoop, Unwound
from rpcb_trio._transports._amqp._data._closing import Closing
from rpcb_trio._transports._amqp._url import Address
from rpcb_trio._transports._codec._frames import HEARTBEAT_FRAME
from rpcb_trio.errors import SessionLost

R = TypeVar("R")

CLOSE_SECONDS = 2.0
"""How long a broker may take to answer `connection.close`."""

RENEW_SECONDS = 10.0
"""How long a broker may take to look at a new password."""

SIGN_SECONDS = 1.0
"""How often aiormq gets a sign of life for frames that it does not see; far below a heartbeat's timeout."""

UPDATE_SECRET = bytes([0, 10, 0, 70])
"""How the frame's method begins, seven bytes into it: AMQP's `connection` (10), `update-secret` (70)."""


class ControlPlane:
    """One connection of aiormq's. Its methods are awaited under trio, and under asyncio by clients there.

    Args:
        loop: runs aiormq.
        address: where to log in, and the user.
        name: what the broker's management page shows.
        write: sends whole frames.
        cut: is called once aiormq closes the connection.
    """

    def __init__(
        self,
        loop: AioLoop,
        address: Address,
        name: str,
        *,
        write: Callable[[bytes], None],
        cut: Callable[[], None],
    ) -> None:
        self.closing: Closing | None = None
        """Why the connection has ended, once it has; its owner says so."""
        self._loop = loop
        self._password = address.url.password
        self._reader = asyncio.StreamReader(loop=loop.asyncio)
        streams = ControlStreams(self._reader, ControlWriter(write, cut))
        self._make = partial(_make, address, name, streams)
        self._aiormq: aiormq.Connection
        self._channels: dict[int, ControlChannel] = {}
        self._has_logged_in = False
        self._fed = -math.inf
        """When aiormq was given a frame, as `time.monotonic()`."""

    @property
    def server_properties(self) -> Mapping[str, object]:
        return cast(Mapping[str, object], self._aiormq.server_properties)

    @property
    def heartbeat(self) -> int:
        """Seconds, as agreed on with the broker; 0 for none."""
        return int(self._aiormq.heartbeat_timeout or 0)

    @property
    def vhost(self) -> str:
        return self._aiormq.vhost

    @property
    def silence(self) -> str | None:
        """Why aiormq gave the connection up, if it heard nothing of the broker for too long."""
        heartbeat = self.heartbeat
        if not heartbeat or not self._aiormq.is_connection_was_stuck:
            return None
        return f"nothing was heard from the broker in {3 * (heartbeat + 1)} s (heartbeat={heartbeat})"

    async def log_in(self) -> int:
        """Agree with the broker on all that AMQP begins with; returns its `frame_max`, 0 for no limit.

        Raises what aiormq raises, which `open_error` reads.
        """
        self._aiormq = await self._loop.call(self._make)
        await self._loop.call(self._aiormq.connect)
        self._has_logged_in = True
        return self._aiormq.connection_tune.frame_max

    async def open_channel(self) -> ControlChannel:
        """Open a channel."""
        # A bound on the frames that wait for aiormq would only cost switches between tasks.
        opening = partial(self._aiormq.channel, publisher_confirms=False, frame_buffer_size=0)
        channel = ControlChannel(self, cast(aiormq.Channel, await self.call(opening)))
        self._channels[channel.number] = channel
        return channel

    def end_channel(self, number: int, closing: Closing | None = None) -> None:
        """A channel is closed, by the broker or by us; its number may soon be another's."""
        channel = self._channels.pop(number, None)
        if channel is not None:
            channel.closing = closing

    async def renew(self, password: str) -> bool:
        """Tell the broker a password or token that has changed; False if it is the old one.

        Raises:
            SessionLost: the broker would not have it, or is gone.
        """
        if password == self._password:
            return False
        update = partial(self._aiormq.update_secret, password, reason="renewed", timeout=RENEW_SECONDS)
        await self.call(update)
        self._password = password
        return True

    async def call(self, function: Callable[[], Awaitable[R]]) -> R:
        """Have asyncio run a function of aiormq's."""
        if self.closing is not None:
            raise SessionLost(self.closing.why)
        try:
            return await self._loop.call(function)
        except Exception as exc:
            if self.closing is not None:  # aiormq's errors of any type are its consequences
                raise SessionLost(self.closing.why) from exc
            if isinstance(exc, (Unwound, *NOT_OURS)):
                raise SessionLost(describe(exc)) from exc
            raise

    async def close(self) -> None:
        """Close the connection with the broker's consent, in `CLOSE_SECONDS` at most; even when cancelled."""
        # Also where it has ended by itself: then aiormq's tasks are still to end.
        with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(*NOT_OURS, SessionLost, Unwound):
            await self._loop.call(self._aiormq.close)

    def feed(self, frame: bytes) -> None:
        self._fed = time.monotonic()
        self._reader.feed_data(frame)

    def show_life(self) -> None:
        """Let aiormq, which watches for silence, know of frames that it does not see; a heartbeat will do.

        Not while it logs in: a read may bring but a part of what it waits for, and then a heartbeat is wrong.
        """
        if self._has_logged_in and time.monotonic() - self._fed > SIGN_SECONDS:
            self.feed(HEARTBEAT_FRAME)

    def feed_end(self, exc: Exception | None) -> None:
        """No more comes: the broker hung up, or the socket failed."""
        if exc is None:
            self._reader.feed_eof()
        else:
            self._reader.set_exception(exc)


async def _make(address: Address, name: str, streams: ControlStreams) -> aiormq.Connection:
    """Runs on asyncio, whose running loop the connection takes."""
    return aiormq.Connection(
        address.url, transport_factory=streams, client_properties={"connection_name": name}
    )


class ControlStreams(TransportFactory):
    """aiormq's end of the wire; its methods run on asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: ControlWriter) -> None:
        self._streams = reader, cast(asyncio.StreamWriter, writer)

    async def create(self, *_: Any, **__: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._streams


class ControlWriter:
    """What aiormq takes for a `StreamWriter`; its coroutines run on asyncio. It writes whole frames."""

    def __init__(self, write: Callable[[bytes], None], close: Callable[[], None]) -> None:
        self.write = write
        self._close = close
        self._is_closing = False
        self.transport = self

    async def drain(self) -> None:
        """There is nothing to wait for: what aiormq writes is small and rare."""

    def is_closing(self) -> bool:
        return self._is_closing

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self._is_closing = True
        self._close()

    abort = close

    async def wait_closed(self) -> None:
        """It is closed as soon as it is told to."""


def _tells_no_secret(record: logging.LogRecord) -> bool:
    """Whether it may be logged: aiormq writes every frame that it sends into its log, at debug."""
    frames = record.args if isinstance(record.args, tuple) else ()
    return not any(getattr(frame, "payload", b"")[7:11] == UPDATE_SECRET for frame in frames)


logging.getLogger("aiormq.connection").addFilter(_tells_no_secret)
