"""Runs a service on one batch: a worker of its own, on the embedded broker, that drains once all is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import trio

from rpcb_trio._batching import FixedPolicy
from rpcb_trio._client import RpcClient, open_client
from rpcb_trio._commands._bodies import Body
from rpcb_trio._instruments import Instrument, Setup
from rpcb_trio._messages import Answer, Batch, RemoteError, Reply, Request, Run
from rpcb_trio._pipeline import open_worker
from rpcb_trio._service import BoundService
from rpcb_trio._transports import MemoryBroker
from rpcb_trio.errors import OutcomeError

QUEUE = "try"


class Input(NamedTuple):
    """One request."""

    label: str
    """What it was given as."""
    body: Body


class Tried(msgspec.Struct):
    """What became of it, and how many seconds it took."""

    ended: list[tuple[Reply | None, OutcomeError | None]]
    """The reply to each request, in their order; with the error, where it is an error reply. None where all
    of it was shown in parts."""
    warm_up: float
    decode: float | None
    """From the first to the last; None where there is no such hook."""
    batches: list[tuple[int, float, int]]
    """Size, seconds and runs of each. There is one, unless nothing could be decoded."""
    encode: float | None


class _Watch(Instrument):
    """Keeps the times of the one batch, and says when all requests are there."""

    def __init__(self, expected: int) -> None:
        self.all_received = trio.Event()
        self.errors = dict[str | None, OutcomeError]()
        self.batches = list[tuple[int, float, int]]()
        self.warm_up = 0.0
        self.decode: float | None = None
        self.encode: float | None = None
        self._missing = expected

    def worker_starting(self, setup: Setup) -> None:  # noqa: ARG002 - the hook's arguments
        self.warm_up = -trio.current_time()

    def worker_started(self, setup: Setup) -> None:  # noqa: ARG002 - likewise
        self.warm_up += trio.current_time()

    def requests_received(self, requests: Sequence[Request]) -> None:
        self._missing -= len(requests)
        if not self._missing:
            self.all_received.set()

    def request_failed(self, request: Request, error: OutcomeError) -> None:
        self.errors[request.correlation_id] = error

    def batch_closed(self, batch: Batch) -> None:
        began = min(each.began for each in batch.members)
        if began < math.inf:
            self.decode = max(each.ready for each in batch.members) - began

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:
        self.batches.append((batch.size, seconds, len(runs)))

    def replies_encoded(self, answers: Sequence[Answer], seconds: float | None) -> None:  # noqa: ARG002 - likewise
        if seconds is not None:
            self.encode = (self.encode or 0.0) + seconds


async def try_batch(
    service: BoundService,
    inputs: Sequence[Input],
    devices: Sequence[str],
    show_part: Callable[[Reply], None],
) -> Tried:
    """Have them all answered; a single one of a service that streams in parts, which are shown as they come.

    Raises:
        SettingError, WarmUpFailed, ExecutorHung: as a worker.
    """
    broker, watch = MemoryBroker(), _Watch(len(inputs))
    replies: list[Reply | None] = [None] * len(inputs)
    in_parts = len(inputs) == 1 and service.stream_infer is not None

    async def call(client: RpcClient, number: int, each: Input) -> None:
        how: dict[str, Any] = {"queue": QUEUE, "timeout": math.inf, "content_type": each.body.content_type}
        if not in_parts:
            replies[number] = await client.call(each.body.content, **how)
            return
        async with client.stream(each.body.content, **how) as parts:
            try:
                async for part in parts:
                    show_part(part)
            except RemoteError as error:
                replies[number] = error.reply

    async with (
        # It waits for a batch that is never full: only the drain closes it, once all are decoded.
        open_client(broker) as client,
        open_worker(
            service,
            broker,
            QUEUE,
            batching=FixedPolicy(len(inputs) + 1, max_wait=1e9),
            max_body_size=None,
            devices=devices[:1],
            drain_timeout=math.inf,
            instruments=[watch],
        ) as worker,
        trio.open_nursery() as nursery,
    ):
        for number, each in enumerate(inputs):
            nursery.start_soon(call, client, number, each)
        await watch.all_received.wait()
        worker.drain()
    return Tried(
        ended=[
            (reply, None if reply is None else watch.errors.get(reply.correlation_id)) for reply in replies
        ],
        warm_up=watch.warm_up,
        decode=watch.decode,
        batches=watch.batches,
        encode=watch.encode,
    )
