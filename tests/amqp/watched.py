"""A worker on a real broker, and a record of what it does that a test can wait for."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import trio

from rpcb_trio import FixedPolicy, HealthInstrument, Instrument, RpcbError, Topology, Worker, _backoff, serve
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.testing import Recorder


class Watched(Recorder):
    """Waits for what the record shows; knows whether the worker is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        """How many sessions there were."""
        self.health = HealthInstrument("worker")
        self._progress = trio.Event()

    @property
    def instruments(self) -> list[Instrument]:
        """Give these to the worker."""
        return [self.health, self]

    @property
    def is_ready(self) -> bool:
        """Whether it consumes."""
        return self.health.health.ready

    def session_opened(self, queue: str) -> None:  # noqa: ARG002 - a worker has but one
        self.opened += 1
        self._advance()

    async def until(self, condition: Callable[[Watched], object]) -> None:
        """Wait for a condition to hold."""
        while not condition(self):
            await self._progress.wait()

    async def until_lost(self) -> str:
        """Wait for a session to be lost, and return why."""
        await self.until(lambda seen: seen.lost_sessions)
        assert not self.is_ready
        return str(self.lost_sessions[0])

    async def until_refused(self, times: int = 1) -> RpcbError:
        """Wait for so many attempts in vain, and return why the first one failed."""
        await self.until(lambda seen: len(seen.failed_attempts) >= times)
        assert not self.is_ready
        return self.failed_attempts[0]

    async def until_settled(self, count: int) -> None:
        """Wait for so many requests to be settled."""
        await self.until(lambda seen: len(seen.settled) >= count)

    async def until_back(self) -> None:
        """Wait for another session than the first."""
        await self.until(lambda seen: seen.opened > 1 and seen.is_ready)

    def _advance(self) -> None:
        self._progress.set()
        self._progress = trio.Event()


def _noticed(event: str) -> Callable[..., None]:
    remember = getattr(Recorder, event)

    def notice(self: Watched, *args: Any) -> None:
        remember(self, *args)
        self._advance()

    return notice


for _event in (
    "session_lost",
    "session_blocked",
    "session_unblocked",
    "reconnect_failed",
    "requests_received",
    "batch_closed",
    "batch_computed",
    "requests_settled",
):
    setattr(Watched, _event, _noticed(_event))


class Model:
    """Answers in capitals, slowly or not at all until it is let go; counts how often it was loaded."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.let_go = threading.Event()
        self.loaded = 0

    def warm_up(self) -> None:
        self.loaded += 1

    def decode(self, body: bytes) -> bytes:
        return body

    def infer(self, items: list[bytes]) -> list[bytes]:
        self.let_go.wait(self._seconds)
        return [item.upper() for item in items]

    def encode(self, outcome: object) -> bytes:
        return outcome.value  # type: ignore[attr-defined, no-any-return] # nothing fails here


@asynccontextmanager
async def working(
    model: Model, transport: AmqpTransport, queue: Topology | str, batch: int = 1, **settings: Any
) -> AsyncIterator[Watched]:
    """A worker that drains at the end."""
    seen = Watched()
    try:
        async with trio.open_nursery() as nursery:
            start = partial(serve, model, transport, queue, batching=FixedPolicy(batch), **settings)
            worker: Worker = await nursery.start(partial(start, instruments=seen.instruments))
            yield seen
            worker.drain()
    finally:
        model.let_go.set()


@contextmanager
def short_waits() -> Iterator[None]:
    """A lost broker is asked again within tenths of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backoff, "LAST_RETRY", 0.3)
        yield
