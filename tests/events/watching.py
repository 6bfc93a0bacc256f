"""What the tests of events share: a worker that tells of itself, and who listens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from rpcb_trio import MemoryBroker
from rpcb_trio._events import AnyEvent
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports import NoticeTransport
from rpcb_trio.events import BatchEvent, EventInstrument, StateEvent, publish_events, watch_events
from rpcb_trio.instruments import Condition
from tests.scenarios import Running, working

EXCHANGE = "rpcb.events"

T = TypeVar("T", BatchEvent, StateEvent)


def state(seconds: float) -> StateEvent:
    """A state, told apart from others by its seconds."""
    return StateEvent(
        worker="asr",
        host="h",
        pid=1,
        queue="work",
        device=None,
        unix=0.0,
        condition=Condition.CONSUMING,
        reason=None,
        seconds=seconds,
        policy="AutoPolicy",
        max_batch_size=32,
        executors=1,
        waiting=0,
        held=0,
        received=0,
        answered=0,
        failed=0,
        batches=0,
        rss=None,
        dropped=0,
    )


class Seen:
    """The events that came so far."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self._arrival = trio.Event()

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def watch(
        self, transport: NoticeTransport | str, exchange: str, *, task_status: trio.TaskStatus[None]
    ) -> None:
        async with watch_events(transport, exchange) as watch:
            task_status.started()
            async for event in watch:
                self.events.append(event)
                self._arrival.set()
                self._arrival = trio.Event()

    async def until(self, kind: type[T], count: int = 1) -> list[T]:
        """Wait for so many events of a kind."""
        await self.until_it_is_so(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    async def until_it_is_so(self, condition: Callable[[], bool]) -> None:
        """Wait until what came is so."""
        with trio.fail_after(30):
            while not condition():
                await self._arrival.wait()


@asynccontextmanager
async def seeing(transport: NoticeTransport | str, exchange: str = EXCHANGE) -> AsyncIterator[Seen]:
    """Watch while it lasts."""
    seen = Seen()
    async with open_serving_nursery() as nursery:
        await nursery.start(seen.watch, transport, exchange)
        yield seen
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def telling(
    service: Any, transport: MemoryBroker, events: EventInstrument | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """Run a worker that publishes its events; leaving it drains it."""
    events = events or EventInstrument("asr")
    async with (
        publish_events(transport, EXCHANGE, events),
        working(service, transport, instruments=[events], **settings) as running,
    ):
        yield running
