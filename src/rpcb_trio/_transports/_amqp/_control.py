"""The control plane: aiormq's end of a connection's wire, and channels to ask the broker on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from aiormq import Channel
from aiormq.connection import TransportFactory
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp._closing import Closing
from rpcb_trio._transports._amqp._wire import Wire

if TYPE_CHECKING:
    from rpcb_trio._transports._amqp._connection import Connection

P = ParamSpec("P")
R = TypeVar("R")

REFUSALS: Mapping[int, type[ChannelClosed]] = {
    403: ChannelAccessRefused,
    404: ChannelNotFoundEntity,
    405: ChannelLockedResource,
    406: ChannelPreconditionFailed,
}
"""What aiormq raises for the codes with which a broker closes a channel."""


class ControlStreams(TransportFactory):
    """aiormq's end of the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: ControlWriter) -> None:
        self._streams = reader, cast(asyncio.StreamWriter, writer)

    async def create(self, *_: Any, **__: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._streams


class ControlWriter:
    """What aiormq takes for a `StreamWriter`. It writes whole frames; the wire keeps them in order."""

    def __init__(self, wire: Wire, close: Callable[[], None]) -> None:
        self._wire = wire
        self._close = close
        self._is_closing = False
        self.transport = self

    def write(self, data: bytes) -> None:
        self._wire.write([data])
        self._wire.flush()

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


class ControlChannel:
    """A channel to ask the broker on. A no closes it."""

    def __init__(self, connection: Connection, channel: Channel) -> None:
        self._connection = connection
        self._channel = channel
        self.closing: Closing | None = None
        """Why the broker has closed it, once it has."""

    @property
    def number(self) -> int:
        """What frames call it."""
        return self._channel.number

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self._connection.is_open and self.closing is None and not self._channel.is_closed

    async def ask(
        self, method: Callable[Concatenate[Channel, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call one of aiormq's methods of a channel.

        Raises:
            ChannelClosed: the broker refused, and has closed the channel.
            SessionLost: the connection is gone.
            ValueError, TypeError: pamqp's, before anything was sent.
        """
        if self.closing is not None:
            raise _refusal(self.closing)
        try:
            return await self._connection.call(partial(method, self._channel, *args, **kwargs))
        except SessionLost as exc:
            if self.closing is not None:  # aiormq says no more than that it is closed
                raise _refusal(self.closing) from exc
            raise

    async def close(self) -> None:
        """Close it, if that is not done yet."""
        if self.is_open:
            await self._connection.call(self._channel.close)
            self._connection.forget(self)


def _refusal(closing: Closing) -> ChannelClosed:
    return REFUSALS.get(closing.code, ChannelClosed)(closing.why)
