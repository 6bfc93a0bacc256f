"""One client's connection: hypercorn's, from which nothing that a client does gets out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import h11
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ASGIReceiveEvent

from rpcb_trio._gateway._faults import Faults

STALL = 30.0
"""Seconds within which a client takes the next piece of its answer; else it is cut off."""

PIECE = 2**16
"""Bytes."""

GONE = (
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.BusyResourceError,  # another task is closing it
    trio.TooSlowError,
)
"""How sending ends where nobody takes it any more."""


class Intake:
    """What a request's app is given to receive, until it has answered; whoever puts more then is let go.

    The queue is short. Who waits at it would wait for ever when nobody takes from it any more, be it the
    reader with a body that the app did not want, or the app's own last word.
    """

    def __init__(self, put: Callable[[ASGIReceiveEvent], Awaitable[None]]) -> None:
        self._put = put
        self._putting: set[trio.CancelScope] = set()
        self._is_over = False

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Give the app a message."""
        if self._is_over:
            return
        with trio.CancelScope() as scope:
            self._putting.add(scope)
            try:
                await self._put(message)
            finally:
                self._putting.remove(scope)

    def end(self) -> None:
        """Take no more."""
        self._is_over = True
        for scope in self._putting:
            scope.cancel()


class OnlyHttp1(H11Protocol):
    """Takes no offer of another protocol, which nobody makes without TLS but to do harm.

    An HTTP/2 connection without a stream would live for ever, and one whose stream is answered early ends
    hypercorn's server; WebSockets we have none.
    """

    _is_last = False
    _intake: Intake | None = None

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what the app answers; after some requests it is the connection's last answer."""
        if self._is_last and isinstance(event, Response):
            event = replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        names = {name.lower() for name, _ in request.headers}
        # Two lengths: whoever is between us may have believed the other one (RFC 9112, 6.1).
        self._is_last = {b"content-length", b"transfer-encoding"} <= names
        if b"upgrade" in names:
            request = h11.Request(
                method=request.method,
                target=request.target,
                headers=[each for each in request.headers if each[0].lower() != b"upgrade"],
                http_version=request.http_version,
            )
        await super()._create_stream(request)
        assert isinstance(self.stream, HTTPStream)  # noqa: S101 - for the type checker
        self._intake = Intake(self.stream.app_put)
        self.stream.app_put = self._intake.put

    async def _maybe_recycle(self) -> None:
        if self._intake is not None:
            self._intake.end()
        await super()._maybe_recycle()


class Connection(TCPServer):
    """Called with a stream, it serves it until either side closes.

    Args:
        faults: where to tell of what breaks.
        arguments: hypercorn's own.
    """

    def __init__(self, faults: Faults, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._faults = faults

    async def run(self) -> None:
        """Serve; what goes wrong here is logged, for other connections live on."""
        try:
            await super().run()
        except* Exception as group:  # noqa: BLE001 - it is told
            self._faults.tell("a connection broke off", _first_leaf(group))

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
            except GONE:
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
        await self.idle_task.stop()  # who has hung up takes no descriptor for as long as one may be idle


def _first_leaf(group: ExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, ExceptionGroup) else first
