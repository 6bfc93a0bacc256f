"""One client's connection: hypercorn's, from which nothing that a client does gets out."""

from __future__ import annotations

import logging

import h11
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer

log = logging.getLogger("rpcb_trio.http")

STALL = 30.0
"""Seconds within which a client takes the next piece of its answer; else it is cut off."""

PIECE = 2**16
"""Bytes."""


class OnlyHttp1(H11Protocol):
    """Takes no offer of HTTP/2, which nobody makes without TLS but to do harm.

    An HTTP/2 connection without a stream would live for ever, and one whose stream is answered early ends
    hypercorn's server.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        pass


class Connection(TCPServer):
    """Called with a stream, it serves it until either side closes."""

    async def run(self) -> None:
        """Serve; what goes wrong here is logged, for other connections live on."""
        try:
            await super().run()
        except* Exception:
            log.exception("a connection broke off")

    async def protocol_send(self, event: Event) -> None:
        """Send bytes, or do what else the event says.

        Other than hypercorn's own it can be cancelled, and waits for nobody who reads nothing; such a client
        would outlive the drain.
        """
        if not isinstance(event, RawData):
            await super().protocol_send(event)
        elif not await self._sent(event.data):
            await self.protocol.handle(Closed())

    async def _sent(self, data: bytes) -> bool:
        rest = memoryview(data)
        async with self.send_lock:
            try:
                while rest:
                    with trio.fail_after(STALL):
                        await self.stream.send_all(rest[:PIECE])
                    rest = rest[PIECE:]
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                await trio.aclose_forcefully(self.stream)
                return False
        return True

    async def _read_data(self) -> None:
        protocol = self.protocol.protocol
        self.protocol.protocol = OnlyHttp1(
            protocol.app,
            protocol.config,
            protocol.context,
            protocol.task_group,
            protocol.connection_state,
            protocol.ssl,
            protocol.client,
            protocol.server,
            protocol.send,
        )
        await super()._read_data()
