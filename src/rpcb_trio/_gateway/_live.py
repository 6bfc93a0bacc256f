"""`/events`: what the workers tell, summed up for browsers, as server-sent events.

One task takes the events, whoever watches. Some times a second another one makes a view of them, once for all
browsers. A browser that reads slowly misses views; nothing is kept for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rpcb_trio._events import EventWatch
from rpcb_trio._gateway._front import Front
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._request_ids import request_id_of
from rpcb_trio._gateway._responses import failure
from rpcb_trio._gateway._tally import Tally
from rpcb_trio._gateway._views import View

PERIOD = 0.25
"""Seconds from a view to the next."""

HEARTBEAT = 1.0
"""Seconds after which there is a view even if nothing has happened, for then the numbers grow old."""

LOOK_EVERY = 0.5
"""Seconds between two looks into the queues at the broker, while somebody watches."""

MOST_QUEUES = 32


class Stream(StreamingResponse):
    """Server-sent events (WHATWG HTML, 9.2), until they end or the browser goes."""

    def __init__(self, frames: AsyncGenerator[bytes], on_end: Callable[[], None]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(frames, headers=headers, media_type="text/event-stream")
        self._frames = frames
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        try:
            async with aclosing(self._frames):
                await super().__call__(scope, receive, send)
        finally:
            self._on_end()


class Live:
    """The live view of one gateway. It is kept up within `running`.

    Args:
        front: whose drain ends the streams.
        watch: what to take the events from; None where there are none.
    """

    def __init__(self, front: Front, watch: EventWatch | None) -> None:
        self._front = front
        self._watch = watch
        self._tallies: dict[str, Tally] = {}
        self._news = anyio.Event()
        self._renewed = anyio.Event()
        self._frame = b""
        self.streams = 0
        """How many browsers watch."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take events and make views of them until the end."""
        async with anyio.create_task_group() as tasks:
            if self._watch is not None:
                tasks.start_soon(self._take, self._watch)
                tasks.start_soon(self._renew)
                tasks.start_soon(self._look_into_queues, self._watch)
            yield
            tasks.cancel_scope.cancel()

    async def endpoint(self, request: Request) -> Response:
        """A stream of views."""
        problem = self._refusal()
        if problem is not None:
            again = self._front.options.retry_after
            return failure(None, problem, request_id=request_id_of(request), retry_after=again)
        self.streams += 1  # at once, for of many who come together each must see the others
        return Stream(self._views(), self._end_stream)

    def _end_stream(self) -> None:
        self.streams -= 1

    def _refusal(self) -> Problem | None:
        if self._watch is None:
            why = "events are off; start the gateway, and its workers, with --events EXCHANGE"
            return Problem(HTTPStatus.NOT_FOUND, "not-found", why)
        if self._front.is_draining:
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "draining", "the gateway drains")
        if self.streams >= self._front.options.max_streams:
            why = f"{self.streams} browsers watch already; come again"
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", why)
        return None

    async def _views(self) -> AsyncGenerator[bytes]:
        self._make()
        while not self._front.is_draining:
            yield self._frame
            await self._renewed.wait()

    async def _take(self, watch: EventWatch) -> None:
        async for event in watch:
            tally = self._tallies.get(event.queue)
            if tally is None:
                if len(self._tallies) >= MOST_QUEUES:
                    continue
                tally = self._tallies[event.queue] = Tally(event.queue)
            tally.take(event, anyio.current_time())
            self._news.set()

    async def _renew(self) -> None:
        while True:
            with anyio.move_on_after(HEARTBEAT - PERIOD):
                await self._news.wait()
            await anyio.sleep(PERIOD)
            self._news = anyio.Event()
            self._forget()
            if self.streams:
                self._make()
            self._renewed.set()
            self._renewed = anyio.Event()

    async def _look_into_queues(self, watch: EventWatch) -> None:
        while True:
            if self.streams:
                for name, tally in list(self._tallies.items()):
                    tally.queued = await watch.depth(name)
            await anyio.sleep(LOOK_EVERY)

    def _make(self) -> None:
        now = anyio.current_time()
        queues = [self._tallies[name].view(now) for name in sorted(self._tallies)]
        view = View(connected=self._watch is not None and self._watch.is_connected, queues=queues)
        self._frame = b"data: " + msgspec.json.encode(view) + b"\n\n"

    def _forget(self) -> None:
        now = anyio.current_time()
        for name in [name for name, tally in self._tallies.items() if tally.is_over(now)]:
            del self._tallies[name]
