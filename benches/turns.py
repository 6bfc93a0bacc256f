"""Workers that take turns: each is served as usual and always backlogged, but only one computes at a time.

So the same slow minute of the machine falls on all of them, and none is measured while it fills or runs dry.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import trio

from rpcb_trio import Instrument, MemoryBroker, RpcClient, open_client, serve
from rpcb_trio.batching import Batch, Policy, Run

QUEUE = "backlog"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One batch, as the worker's instrument saw it."""

    size: int
    audio: float
    """Seconds, padding not counted."""
    seconds: float
    """That it took by the clock on the wall, other programs on the machine included."""
    predicted: float | None
    """Likewise, by its policy; None where that does not learn."""


class Turn(msgspec.Struct, frozen=True):
    """What a worker did while it was its turn."""

    cpu_seconds: float
    """Of all of the process's threads: decoding, deciding, computing, replying, and the producer."""
    batches: tuple[Measured, ...]

    @property
    def audio(self) -> float:
        return sum(batch.audio for batch in self.batches)


class Contestant(Instrument):
    """One worker's executor, which waits for its turns, and the instrument that ends them.

    Args:
        service: with all its hooks; its model may be shared with others, as only one computes.
    """

    def __init__(self, service: Any) -> None:
        self._service = service
        self._turn = trio.Event()
        self._over = trio.Event()
        self._left = 0
        self._batches: list[Measured] = []

    async def warm_up(self) -> None:
        await trio.to_thread.run_sync(self._service.warm_up)

    async def idle(self) -> None:
        """Wait for a turn; no batch is closed before, so that no wait counts as service time."""
        await self._turn.wait()

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        """Compute a batch in a thread."""
        computed: Sequence[Any] = await trio.to_thread.run_sync(self._service.infer, list(items))
        return computed

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:  # noqa: ARG002 (any instrument's)
        """Count it, and end the turn with the one that fills it."""
        self._batches.append(
            Measured(size=batch.size, audio=batch.work.total, seconds=seconds, predicted=batch.predicted)
        )
        self._left -= batch.size
        if self._left <= 0:
            self._turn = trio.Event()
            self._over.set()

    async def take_turn(self, clips: int) -> Turn:
        """Compute at least so many clips, in whole batches."""
        self._left, self._batches, self._over = clips, [], trio.Event()
        began = time.process_time()
        self._turn.set()
        await self._over.wait()
        return Turn(time.process_time() - began, tuple(self._batches))


@asynccontextmanager
async def backlogged(
    service: Any, policy: Policy, requests: Iterator[bytes], *, pending: int
) -> AsyncIterator[Contestant]:
    """Serve from an embedded broker; a producer keeps `pending` requests outstanding, none computed or lost.

    Leaving it drops what is pending.
    """
    contestant, broker = Contestant(service), MemoryBroker()
    start = partial(
        serve,
        service,
        broker,
        QUEUE,
        batching=policy,
        prefetch=pending,
        executors=[contestant],
        instruments=[contestant],
    )
    async with trio.open_nursery() as serving:
        await serving.start(start)
        async with open_client(broker) as client, trio.open_nursery() as sending:
            for _ in range(pending):
                sending.start_soon(_keep_sending, client, requests)
            yield contestant
            sending.cancel_scope.cancel()  # before the client closes, which would interrupt the calls
        serving.cancel_scope.cancel()


async def _keep_sending(client: RpcClient, requests: Iterator[bytes]) -> None:
    while True:
        reply = await client.call(next(requests), queue=QUEUE, timeout=math.inf)
        reply.raise_for_error()
