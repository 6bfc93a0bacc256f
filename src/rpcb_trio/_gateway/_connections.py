"""One client's connection: hypercorn's, changed so that nothing a client does holds up or ends anything else.

This overrides methods that hypercorn does not document, so its version has an upper bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
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

from rpcb_trio._gateway._middleware import Faults
from rpcb_trio.errors import first_leaf

STALL = 30.0
"""Seconds within which a client takes the next piece of its response; else its connection is closed."""

FAREWELL = 5.0
"""Seconds that the end of a connection may take."""

PIECE = 2**16
"""Bytes that are sent at a time."""

GONE = (
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.BusyResourceError,  # another task is closing it
    trio.TooSlowError,
)
"""How sending fails when the client is gone or takes nothing."""


class Intake:
    """Puts messages into the queue of a request's app until the app has answered, and then drops them.

    The queue is short. After the answer nothing takes from it any more, so that the task which reads a body
    that the app did not read would wait at it for ever, and so would the message that ends the request.
    """

    def __init__(self, put: Callable[[ASGIReceiveEvent], Awaitable[None]]) -> None:
        self._put = put
        self._putting: set[trio.CancelScope] = set()
        self._is_over = False

    async def put(self, message: ASGIReceiveEvent) -> None:
        if self._is_over:
            return
        with trio.CancelScope() as scope:
            self._putting.add(scope)
            try:
                await self._put(message)
            finally:
                self._putting.remove(scope)

    def end(self) -> None:
        self._is_over = True
        for scope in self._putting:
            scope.cancel()


class OnlyHttp1(H11Protocol):
    """Accepts no upgrade to another protocol; without TLS no ordinary client asks for one.

    An HTTP/2 connection without a stream would live for ever, and one whose stream is answered early ends
    hypercorn's server. The app has no WebSockets.
    """

    _is_last = False
    _intake: Intake | None = None

    async def stream_send(self, event: StreamEvent) -> None:
        if self._is_last and isinstance(event, Response):
            event = replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        names = {name.lower() for name, _ in request.headers}
        # Two lengths: a proxy between us may have gone by the other one (RFC 9112, 6.1).
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


class HttpConnection(TCPServer):
    """Serves a stream until either side closes; an error is logged, and other connections go on."""

    def __init__(self, faults: Faults, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._faults = faults

    async def run(self) -> None:
        try:
            stream: trio.abc.Stream = self.stream  # hypercorn types it as one of TLS, but there may be none
            if not isinstance(stream, trio.SSLStream) or await self._has_shaken_hands(stream):
                await super().run()
        except* Exception as group:  # noqa: BLE001 - it is logged
            self._faults.record("a connection broke off", first_leaf(group))

    async def _has_shaken_hands(self, stream: trio.SSLStream[trio.SocketStream]) -> bool:
        """Shake hands, in time and before a drain, which must not wait for a client that says nothing."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_at_drain, nursery.cancel_scope)
            with trio.move_on_after(self.config.ssl_handshake_timeout), suppress(trio.BrokenResourceError):
                await stream.do_handshake()
                nursery.cancel_scope.cancel()
                return True
            nursery.cancel_scope.cancel()
        return False

    async def _cancel_at_drain(self, scope: trio.CancelScope) -> None:
        await self.context.terminated.wait()
        scope.cancel()

    async def protocol_send(self, event: Event) -> None:
        """As hypercorn's, with a timeout and cancellable, for clients that read nothing."""
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

    async def _close(self) -> None:
        """As hypercorn's, in time: over TLS it sends a last message, to a client that may read nothing."""
        with trio.move_on_after(FAREWELL):
            await super()._close()

    async def _read_data(self) -> None:
        # Hypercorn has made the protocol, and has no setting for its class. Nothing has been read yet.
        self.protocol.protocol.__class__ = OnlyHttp1
        await super()._read_data()
        await self.idle_task.stop()  # else a closed connection would keep its descriptor
