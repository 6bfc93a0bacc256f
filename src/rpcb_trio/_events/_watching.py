"""Seeing the events of all workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio.abc import TaskStatus

from rpcb_trio._backoff import ConnectionLog, keep_connected
from rpcb_trio._errors import SessionLost
from rpcb_trio._events._events import AnyEvent, decoded
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports import NoticeTransport, Subscriber, as_notice_transport


class EventWatch:
    """Events as they come, whatever becomes of the connection. Made by `watch_events`; iterate over it."""

    def __init__(self) -> None:
        self._put, self._events = anyio.create_memory_object_stream[AnyEvent](0)
        self._subscriber: Subscriber | None = None

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

    async def _listen(self, subscriber: Subscriber) -> None:
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
    """See the events of all workers that publish to an exchange, under trio or asyncio.

    The exchange is declared if it is not there. A connection that is lost is opened again with backoff. Who
    reads too slowly misses some.

    Raises:
        LoginRefused, TopologyMismatch, SessionLost: the broker would not have it so at the start.
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
