"""`/events`: the summary of the workers' events for browsers, as server-sent events.

The summary is kept whether or not anyone watches. Up to four times a second it becomes a view, one for all
browsers. A browser that reads slowly misses views; nothing is kept for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rpcb_trio._events import EventWatch, LiveSummary, QueueSummary, WorkerState
from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import failure
from rpcb_trio._gateway._server_sent import ServerSentEvents, event_of
from rpcb_trio._messages import Trigger

PERIOD = 0.25
"""Seconds from a view to the next."""

HEARTBEAT = 1.0
"""Seconds after which there is a view even if nothing has happened, for the numbers age."""

MOST_WORKERS = 64
"""Of a queue that a view lists."""


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of the chart: what it shows of a `BatchEvent`."""

    size: int
    trigger: Trigger
    wait_max_ms: float
    service_ms: float
    total_ms: float
    failed: int


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """One queue."""

    summary: QueueSummary
    batches: list[BatchView]
    """The last ones, the newest last."""
    workers: list[WorkerState]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All that a browser shows at a time."""

    connected: bool
    """Whether events would come."""
    queues: list[QueueView]


class Live:
    """The live view of one gateway. It is kept up within `running`.

    Args:
        dispatcher: its drain ends the streams.
        watch: where the events come from; None where there are none.
    """

    def __init__(self, dispatcher: Dispatcher, watch: EventWatch | None) -> None:
        self._dispatcher = dispatcher
        self._summary = None if watch is None else LiveSummary(watch, lambda: self.streams > 0)
        self._renewed = anyio.Event()
        self._frame = b""
        self.streams = 0
        """How many browsers watch."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take events and make views of them until the end."""
        async with anyio.create_task_group() as tasks:
            if self._summary is not None:
                tasks.start_soon(self._summary.keep)
                tasks.start_soon(self._renew, self._summary)
            yield
            tasks.cancel_scope.cancel()

    async def endpoint(self, request: Request) -> Response:
        """A stream of views."""
        if self._summary is None:
            why = "events are off; start the gateway, and its workers, with --events EXCHANGE"
            return self._refuse(request, HTTPStatus.NOT_FOUND, "not-found", why)
        if self._dispatcher.is_draining:
            return self._refuse(request, HTTPStatus.SERVICE_UNAVAILABLE, "draining", "the gateway drains")
        if self.streams >= self._dispatcher.options.max_streams:
            why = f"{self.streams} browsers watch already; try again later"
            return self._refuse(request, HTTPStatus.SERVICE_UNAVAILABLE, "busy", why)
        self.streams += 1  # at once, or several that connect together would not see each other
        held = ExitStack()
        held.callback(self._end_stream)
        return ServerSentEvents(self._frames(self._summary), held)

    def _refuse(self, request: Request, status: HTTPStatus, code: str, why: str) -> Response:
        retry_after = self._dispatcher.options.retry_after
        problem = Problem(status, code, why)
        return failure(None, problem, request, retry_after=retry_after)

    def _end_stream(self) -> None:
        self.streams -= 1

    async def _frames(self, summary: LiveSummary) -> AsyncGenerator[bytes]:
        self._frame = frame_of(summary)
        while not self._dispatcher.is_draining:
            yield self._frame
            await self._renewed.wait()

    async def _renew(self, summary: LiveSummary) -> None:
        while True:
            with anyio.move_on_after(HEARTBEAT - PERIOD):
                await summary.news.wait()
            await anyio.sleep(PERIOD)
            if self.streams:
                self._frame = frame_of(summary)
            self._renewed.set()
            self._renewed = anyio.Event()


def frame_of(summary: LiveSummary) -> bytes:
    now, observer = anyio.current_time(), summary.observer
    queues = [
        QueueView(
            summary=each,
            batches=msgspec.convert(observer.last_batches(each.queue), list[BatchView], from_attributes=True),
            workers=observer.states(each.queue, now)[:MOST_WORKERS],
        )
        for each in summary.queues()
    ]
    view = View(connected=summary.is_connected, queues=queues)
    return event_of(msgspec.json.encode(view))
