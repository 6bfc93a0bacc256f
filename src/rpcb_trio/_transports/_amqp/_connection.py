"""One connection to a broker, with its two planes on one socket.

aiormq owns the control plane: handshake, login, heartbeats, channels, qos, consume, cancel, declares, closes.
It is given a reader that is fed and a writer that passes whole frames on. The data plane is ours (`_frames`):
deliveries, returned messages, confirms, publishes and acks never come near aiormq.

asyncio's coroutines live in this module, in aiormq's end of the wire (`_control`) and in the loop that runs
them (`_loop`), and nowhere else. What is handed out here is for trio, and for asyncio
where a client runs there.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar, cast

import aiormq
import anyio
from aiormq import Channel
from anyio.abc import TaskGroup
from pamqp.commands import Confirm

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp import _frames as frames
from rpcb_trio._transports._amqp._boundary import NOT_OURS, describe, ends_connection, open_error
from rpcb_trio._transports._amqp._closing import Closing, closing_of
from rpcb_trio._transports._amqp._control import ControlChannel, ControlStreams, ControlWriter
from rpcb_trio._transports._amqp._data import DataChannel
from rpcb_trio._transports._amqp._limits import largest_message
from rpcb_trio._transports._amqp._loop import AioLoop, Unwound
from rpcb_trio._transports._amqp._tls import tls_context
from rpcb_trio._transports._amqp._url import Address
from rpcb_trio._transports._amqp._wire import Wire, start_tls

R = TypeVar("R")
D = TypeVar("D", bound=DataChannel)

CLOSE_SECONDS = 2.0
"""How long a broker may take to say goodbye."""

ASK_SECONDS = 2.0
"""How long a broker may take to answer a question."""

RENEW_SECONDS = 10.0
"""How long a broker may take to look at a new password."""

CONNECTION_CLOSE, BLOCKED, UNBLOCKED = 10 << 16 | 50, 10 << 16 | 60, 10 << 16 | 61
CHANNEL_CLOSE = 20 << 16 | 40
CONSUMER_CANCELLED = 60 << 16 | 30
"""Class and method of the frames that the data plane has to know of too."""


class Connection:
    """An open connection. `closing` says why it has ended, once it has."""

    def __init__(self, loop: AioLoop, address: Address, name: str) -> None:
        self.closing: Closing | None = None
        self.frame_max = frames.DEFAULT_FRAME_MAX
        """Bytes of the largest frame that the broker takes."""
        self._loop = loop
        self._address = address
        self._name = name
        self._password = address.url.password
        self._reader = asyncio.StreamReader(loop=loop.asyncio)
        self._frames = frames.FrameReader()
        self._fed = -float("inf")
        """When aiormq was given a frame, as `time.monotonic()`."""
        self._has_logged_in = False
        self._wire: Wire
        self._socket: Any
        self._aiormq: aiormq.Connection
        self._controls: dict[int, ControlChannel] = {}
        self._channels: dict[int, DataChannel] = {}
        self._on_close: list[Callable[[str], None]] = []
        self._on_blocked: Callable[[str | None], None] = lambda _: None

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self.closing is None

    @property
    def server_properties(self) -> Mapping[str, object]:
        """What the broker says of itself."""
        return cast(Mapping[str, object], self._aiormq.server_properties)

    @property
    def heartbeat(self) -> int:
        """Seconds; 0 for none."""
        return int(self._aiormq.heartbeat_timeout or 0)

    @property
    def vhost(self) -> str:
        """The virtual host that we are in."""
        return self._aiormq.vhost

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The TLS that it is on; None where it is on none."""
        return self._socket if isinstance(self._socket, ssl.SSLSocket) else None

    @property
    def largest_message(self) -> int | None:
        """The largest body, in bytes, that such a broker takes by default; None where that is not known."""
        return largest_message(self.server_properties)

    def on_close(self, report: Callable[[str], None]) -> None:
        """Have `report` called with the reason once the connection ends."""
        if self.closing is not None:
            report(self.closing.why)
        else:
            self._on_close.append(report)

    def on_blocked(self, report: Callable[[str | None], None]) -> None:
        """Have `report` called with the reason when the broker blocks it, with None at the end of that."""
        self._on_blocked = report

    async def channel(self) -> ControlChannel:
        """Open a channel to ask the broker on."""
        channel = ControlChannel(self, await self.call(self._open_channel))
        self._controls[channel.number] = channel
        return channel

    @asynccontextmanager
    async def one_question(self) -> AsyncIterator[ControlChannel]:
        """A channel for a question that a no would close, not to be cut by who asks, but by `ASK_SECONDS`.

        aiormq loses count of its channels where it is cancelled while it opens or closes one.

        Raises:
            SessionLost: the connection is gone, or the broker does not answer.
        """
        with anyio.move_on_after(ASK_SECONDS, shield=True):
            channel = await self.channel()
            try:
                yield channel
            finally:
                await channel.close()
            return
        raise SessionLost(f"the broker did not answer within {ASK_SECONDS:g} s")

    async def data_channel(
        self, make: Callable[[Connection, ControlChannel], D], *, confirms: bool = False
    ) -> D:
        """Open a channel for messages; with `confirms` the broker gives its word on each published one."""
        control = await self.channel()
        made = self._channels[control.number] = make(self, control)
        if self.closing is not None:
            made.close(self.closing)
        elif confirms:
            await control.ask(Channel.rpc, Confirm.Select())
        return made

    def forget(self, channel: ControlChannel) -> None:
        """Take it that a channel is closed; its number may be another's by now."""
        if self._controls.get(channel.number) is channel:
            self._channels.pop(channel.number, None)
            del self._controls[channel.number]

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Take whole frames of the data plane, to be sent with the next `flush`."""
        self._wire.write(pieces)

    def flush(self) -> None:
        """Send what was written."""
        self._wire.flush()

    @property
    def is_drained(self) -> bool:
        """Whether the socket has taken all that was flushed."""
        return self._wire.is_drained

    async def drained(self) -> None:
        """Wait until the socket has taken all that was written, or never will."""
        await self._wire.drained()

    async def renew(self, password: str) -> bool:
        """Tell the broker a password or token that has changed; False if it is the old one.

        Raises:
            SessionLost: the broker would not have it, or is gone.
        """
        if password == self._password:
            return False
        await self.call(
            partial(self._aiormq.update_secret, password, reason="renewed", timeout=RENEW_SECONDS)
        )
        self._password = password
        return True

    async def call(self, function: Callable[[], Awaitable[R]]) -> R:
        """Have asyncio run a function of aiormq's.

        Raises:
            SessionLost: the connection is gone.
        """
        if self.closing is not None:
            raise SessionLost(self.closing.why)
        try:
            return await self._loop.call(function)
        except Exception as exc:
            if self.closing is not None:  # aiormq's errors of any type are its consequences
                raise SessionLost(self.closing.why) from exc
            if isinstance(exc, Unwound) or ends_connection(exc):
                raise SessionLost(describe(exc)) from exc
            raise

    async def close(self) -> None:
        """Say goodbye, wait `CLOSE_SECONDS` at most, then cut; even when cancelled."""
        try:
            # Also where it has ended by itself: then aiormq's tasks are still to end.
            with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(*NOT_OURS, SessionLost, Unwound):
                await self._loop.call(self._aiormq.close)
        finally:
            self._end(Closing("the connection has closed"))

    async def open(self, tasks: TaskGroup) -> None:
        """Connect and log in; what reads the socket runs in `tasks` until the connection ends.

        Raises:
            LoginRefused, SessionLost, SettingError: see `dial`.
        """
        address = self._address
        context = await anyio.to_thread.run_sync(tls_context, address) if address.is_tls else None
        try:
            self._socket = await self._loop.open_socket(address.host, address.port)
            if context is not None:
                self._socket = await start_tls(self._socket, context, address.host)
        except OSError as exc:
            raise open_error(exc, address) from exc
        self._wire = Wire(self._socket, self._take, self._lose)
        tasks.start_soon(self._wire.run)
        try:
            await self._loop.call(self._log_in)
        except BaseException as exc:
            closing = self.closing
            self._end(Closing("the connection could not be opened"))
            if isinstance(exc, Exception):
                raise open_error(exc, address, closing) from exc
            raise
        most = self._aiormq.connection_tune.frame_max
        self.frame_max = min(most or frames.DEFAULT_FRAME_MAX, frames.LARGEST_FRAME)
        self._frames.frame_max = most or frames.LARGEST_FRAME
        self._has_logged_in = True

    async def _log_in(self) -> None:
        writer = ControlWriter(self._wire, self._cut)
        self._aiormq = aiormq.Connection(
            self._address.url,
            transport_factory=ControlStreams(self._reader, writer),
            client_properties={"connection_name": self._name},
        )
        await self._aiormq.connect()

    async def _open_channel(self) -> Channel:
        # A bound on the frames that wait for aiormq would only cost switches between tasks.
        channel = await self._aiormq.channel(publisher_confirms=False, frame_buffer_size=0)
        return cast(Channel, channel)

    def _take(self, data: bytes) -> None:
        """Read what came; a frame that is none ends the connection."""
        try:
            self._sort(self._frames.feed(data))
        except frames.MalformedFrame as exc:
            self._lose(exc)
        else:
            self._show_life()

    def _sort(self, events: Iterable[frames.Event]) -> None:
        channels = self._channels
        deliveries: list[frames.Delivery] = []
        for event in events:
            if type(event) is frames.Delivery:
                if deliveries and deliveries[0].channel != event.channel:
                    self._deliver(deliveries)
                    deliveries = []
                deliveries.append(event)
            elif type(event) is frames.Control:
                if deliveries:
                    self._deliver(deliveries)
                    deliveries = []
                self._control(event)
            elif (channel := channels.get(event.channel)) is not None:
                if isinstance(event, frames.Confirm):
                    channel.confirm(event)
                elif isinstance(event, frames.Returned):
                    channel.take_back(event)
        if deliveries:
            self._deliver(deliveries)

    def _deliver(self, deliveries: list[frames.Delivery]) -> None:
        channel = self._channels.get(deliveries[0].channel)
        if channel is not None:
            channel.deliver(deliveries)

    def _control(self, event: frames.Control) -> None:
        if event.method == CHANNEL_CLOSE:
            closing = closing_of(event)
            control = self._controls.pop(event.channel, None)
            if control is not None:
                control.closing = closing
            channel = self._channels.pop(event.channel, None)
            if channel is not None:
                channel.close(closing)
        elif event.method == CONNECTION_CLOSE:
            self._end(closing_of(event, is_of_connection=True), cut=False)
        elif event.method == BLOCKED:
            self._on_blocked(frames.read_text(event.arguments) or "no reason given")
        elif event.method == UNBLOCKED:
            self._on_blocked(None)
        elif event.method == CONSUMER_CANCELLED and event.channel in self._channels:
            self._channels[event.channel].cancelled()
        self._feed(event.frame)

    def _feed(self, frame: bytes) -> None:
        self._fed = time.monotonic()
        self._reader.feed_data(frame)

    def _show_life(self) -> None:
        """Let aiormq, which watches for silence, hear of what it does not see; heartbeats will do.

        Not while it logs in: a read may bring but a part of what it waits for, and then a heartbeat is wrong.
        """
        if self._has_logged_in and time.monotonic() - self._fed > 1.0:
            self._feed(frames.HEARTBEAT_FRAME)

    def _lose(self, exc: Exception | None) -> None:
        """No more comes: the broker hung up, or the socket failed."""
        self._end(Closing("the broker hung up" if exc is None else describe(exc)))
        if exc is None:
            self._reader.feed_eof()
        else:
            self._reader.set_exception(exc)

    def _cut(self) -> None:
        """The connection was closed by aiormq: on our word, or since it heard nothing for too long."""
        heartbeat = self.heartbeat
        if heartbeat and self._aiormq.is_connection_was_stuck:
            silence = f"nothing was heard from the broker in {3 * (heartbeat + 1)} s (heartbeat={heartbeat})"
            self._end(Closing(silence))
        else:
            self._end(Closing("the connection has closed"))

    def _end(self, closing: Closing, *, cut: bool = True) -> None:
        if cut:
            self._wire.cut()
        if self.closing is not None:
            return
        self.closing = closing
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close(closing)
        for report in self._on_close:
            report(closing.why)


async def dial(
    tasks: TaskGroup, loop: AioLoop, address: Address, *, name: str, connect_timeout: float
) -> Connection:
    """Connect and log in, within `connect_timeout` seconds; `tasks` hold what reads the socket.

    Raises:
        LoginRefused: the broker refused the user, the password, the virtual host or the certificate.
        SessionLost: it can't be reached, or it hung up.
        SettingError: a file that the URL names can't be used.
    """
    with anyio.move_on_after(connect_timeout):
        connection = Connection(loop, address, name)
        await connection.open(tasks)
        return connection
    raise SessionLost(
        f"{address.host}:{address.port} did not answer within {connect_timeout:g} s (connect_timeout)"
    )
