"""One connection to a broker, with its two planes on one socket.

What comes is sorted here: deliveries, returned messages and confirms go to the data plane's channels; every
other frame goes to the control plane, which is aiormq's.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._control._errors import describe, open_error
from rpcb_trio._transports._amqp._control._loop import AioLoop
from rpcb_trio._transports._amqp._control._plane import ControlPlane
from rpcb_trio._transports._amqp._data._closing import Closing, closing_of
from rpcb_trio._transports._amqp._data._wire import Wire, start_tls
from rpcb_trio._transports._amqp._limits import largest_message
from rpcb_trio._transports._amqp._tls import tls_context
from rpcb_trio._transports._amqp._url import Address
from rpcb_trio._transports._codec import _frames as frames
from rpcb_trio.errors import SessionLost

ASK_SECONDS = 2.0
"""How long a broker may take to answer a question that a message waits for, or a request."""

CONNECTION_CLOSE, BLOCKED, UNBLOCKED = 10 << 16 | 50, 10 << 16 | 60, 10 << 16 | 61
CHANNEL_CLOSE = 20 << 16 | 40
CONSUMER_CANCELLED = 60 << 16 | 30
"""Class and method of the frames that the data plane has to know of too."""


class DataChannel:
    """A channel for messages; its connection calls it with what comes for it."""

    def __init__(self, connection: Connection, control: ControlChannel) -> None:
        self.connection = connection
        self.control = control
        self.closing: Closing | None = None
        self.take: Callable[[Sequence[frames.Delivery]], None] = lambda _: None
        """Is called with the deliveries that one read of the socket brought."""
        self.end: Callable[[str | None], None] = lambda _: None
        """Is called with the reason once no more come, or None where the broker has ended the consumer."""
        self._number = control.number

    @property
    def is_open(self) -> bool:
        return self.closing is None

    def confirm(self, confirm: frames.Confirm) -> None:
        """The broker's word on messages that were published."""

    def take_back(self, returned: frames.Returned) -> None:
        """A message that no queue was bound for."""

    def close(self, closing: Closing) -> None:
        """The channel, or its connection, has ended."""
        self.closing = closing
        self.end(closing.why)


D = TypeVar("D", bound=DataChannel)


class Connection:
    """An open connection. `closing` says why it has ended, once it has."""

    def __init__(self, loop: AioLoop, address: Address, name: str) -> None:
        self.plane = ControlPlane(loop, address, name, write=self._write_now, cut=self._cut)
        """aiormq's part of it."""
        self.frame_max = frames.DEFAULT_FRAME_MAX
        """Bytes of the largest frame that the broker takes."""
        self._loop = loop
        self._address = address
        self._frames = frames.FrameReader()
        self.wire: Wire
        """Takes the data plane's frames too."""
        self._socket: Any
        self._channels: dict[int, DataChannel] = {}
        self._on_close: list[Callable[[str], None]] = []
        self._on_blocked: Callable[[str | None], None] = lambda _: None

    @property
    def closing(self) -> Closing | None:
        return self.plane.closing

    @property
    def is_open(self) -> bool:
        return self.plane.closing is None

    @property
    def server_properties(self) -> Mapping[str, object]:
        return self.plane.server_properties

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
        channel = await self.plane.open_channel()
        self._channels.pop(channel.number, None)  # that of a channel which we closed
        return channel

    @asynccontextmanager
    async def throwaway_channel(self, seconds: float = math.inf) -> AsyncIterator[ControlChannel]:
        """A channel of its own for what the broker may refuse, since a refusal closes it.

        With `seconds` nothing else cancels it: aiormq loses count of the channels of a connection that lives
        on where it is cancelled while it opens or closes one.

        Raises:
            SessionLost: the connection is gone, or the broker does not answer in time.
        """
        with anyio.move_on_after(seconds, shield=seconds < math.inf):
            channel = await self.channel()
            try:
                yield channel
            finally:
                await channel.close()
            return
        raise SessionLost(f"the broker did not answer within {seconds:g} s")

    async def data_channel(
        self, make: Callable[[Connection, ControlChannel], D], *, confirms: bool = False
    ) -> D:
        """Open a channel for messages; with `confirms` the broker gives its word on each published one."""
        control = await self.channel()
        made = self._channels[control.number] = make(self, control)
        if self.closing is not None:
            made.close(self.closing)
        elif confirms:
            await control.select_confirms()
        return made

    async def aclose(self) -> None:
        """Close it with the broker's consent, or without it after a few seconds; even when cancelled."""
        try:
            await self.plane.close()
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
        self.wire = Wire(self._socket, self._take, self._lose)
        tasks.start_soon(self.wire.run)
        try:
            most = await self.plane.log_in()
        except BaseException as exc:
            closing = self.closing
            self._end(Closing("the connection could not be opened"))
            if isinstance(exc, Exception):
                raise open_error(exc, address, closing) from exc
            raise
        self.frame_max = min(most or frames.DEFAULT_FRAME_MAX, frames.LARGEST_FRAME)
        self._frames.frame_max = most or frames.LARGEST_FRAME

    def _write_now(self, frame: bytes) -> None:
        self.wire.write([frame])
        self.wire.flush()

    def _take(self, data: bytes) -> None:
        """Read what came; a frame that is none ends the connection."""
        try:
            self._sort(self._frames.feed(data))
        except frames.MalformedFrame as exc:
            self._lose(exc)
        else:
            self.plane.show_life()

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
            channel.take(deliveries)

    def _control(self, event: frames.Control) -> None:
        if event.method == CHANNEL_CLOSE:
            closing = closing_of(event)
            self.plane.end_channel(event.channel, closing)
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
            self._channels[event.channel].end(None)
        self.plane.feed(event.frame)

    def _lose(self, exc: Exception | None) -> None:
        """No more comes: the broker hung up, or the socket failed."""
        self._end(Closing("the broker hung up" if exc is None else describe(exc)))
        self.plane.feed_end(exc)

    def _cut(self) -> None:
        """The connection was closed by aiormq: because we asked for it, or heard nothing for too long."""
        self._end(Closing(self.plane.silence or "the connection has closed"))

    def _end(self, closing: Closing, *, cut: bool = True) -> None:
        if cut:
            self.wire.cut()
        if self.closing is not None:
            return
        self.plane.closing = closing
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
