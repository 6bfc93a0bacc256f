"""Watching the events of all workers, and keeping a summary of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio.abc import TaskStatus

from rpcb_trio._backoff import ConnectionLog, keep_connected
from rpcb_trio._events._events import AnyEvent, decoded
from rpcb_trio._events._summary import Observer, QueueSummary
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports import NoticeSubscriber, NoticeTransport, as_notice_transport
from rpcb_trio.errors import SessionLost

DEPTH_EVERY = 1.0
"""Seconds between two questions to the broker how many messages its queues hold."""


class EventWatch:
    """Events as they come, whatever becomes of the connection. Made by `watch_events`; iterate over it."""

    def __init__(self) -> None:
        self._put, self._events = anyio.create_memory_object_stream[AnyEvent](0)
        self._subscriber: NoticeSubscriber | None = None

    @property
    def is_connected(self) -> bool:
        """Whether events would come."""
        return self._subscriber is not None

    async def depth(self, queue: str) -> int | None:
        """How many messages lie in a queue at the broker; None where that can't be known now."""
        try:
            return None if self._subscriber is None else await self._subscriber.depth(queue)
        except SessionLost:
            return None

    def __aiter__(self) -> Self:
        """The events, without end."""
        return self

    async def __anext__(self) -> AnyEvent:
        """The next event."""
        return await anext(self._events)

    async def _follow(
        self, transport: NoticeTransport, exchange: str, *, task_status: TaskStatus[None]
    ) -> None:
        log = ConnectionLog("events", task_status.started)
        await keep_connected(lambda: transport.open_subscriber(exchange), self._listen, log)

    async def _listen(self, subscriber: NoticeSubscriber) -> None:
        self._subscriber = subscriber
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(subscriber.watch)
                async for body in subscriber.bodies:
                    event = decoded(body)
                    if event is not None:
                        await self._put.send(event)
        finally:
            self._subscriber = None

    def _close(self) -> None:
        self._put.close()
        self._events.close()


@asynccontextmanager
async def watch_events(transport: NoticeTransport | str, exchange: str) -> AsyncIterator[EventWatch]:
    """Watch the events of all workers that publish to an exchange, under trio or asyncio.

    The exchange is declared if it is not there. A connection that is lost is opened again with backoff. A
    reader that is too slow misses some events.

    Raises:
        LoginRefused, TopologyMismatch, SessionLost: the broker refused at the start.
        SettingError: the URL or the exchange is wrong.
    """
    watch = EventWatch()
    try:
        async with open_serving_nursery() as nursery:
            await nursery.start(watch._follow, as_notice_transport(transport), exchange)  # noqa: SLF001 - one room
            yield watch
            nursery.cancel_scope.cancel()
    finally:  # not before the nursery has ended: it may be about to send
        watch._close()  # noqa: SLF001 - one room


class LiveSummary:
    """What an `EventWatch` yields, summed up as it comes, with the depths of the queues.

    Args:
        watch: where the events come from.
        is_needed: whether anyone looks. While nobody does, the broker is not asked for depths.
    """

    def __init__(self, watch: EventWatch, is_needed: Callable[[], bool] = lambda: True) -> None:
        self._watch = watch
        self._is_needed = is_needed
        self._depths: dict[str, int | None] = {}
        self.observer = Observer()
        self.news = anyio.Event()
        """Set by the next event, and then replaced."""

    @property
    def is_connected(self) -> bool:
        """Whether events would come."""
        return self._watch.is_connected

    def queues(self) -> list[QueueSummary]:
        """All queues now, by name."""
        now = anyio.current_time()
        return [self.observer.queue(name, now, self._depths.get(name)) for name in self.observer.queues]

    async def keep(self) -> None:
        """Take events and ask for depths, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask_for_depths)
            async for event in self._watch:
                self.observer.take(event, anyio.current_time())
                self.news.set()
                self.news = anyio.Event()

    async def _ask_for_depths(self) -> None:
        await self.news.wait()
        while True:
            names = self.observer.queues if self._is_needed() else []
            self._depths = {name: await self._watch.depth(name) for name in names}
            self.observer.forget(anyio.current_time(), self._depths)
            await anyio.sleep(DEPTH_EVERY)
