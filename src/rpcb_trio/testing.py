"""For tests of your own service: virtual time, an embedded broker, a record of the events.

    async def test_ten_callers_share_one_batch(autojump_clock):
        policy = FixedPolicy(max_batch_size=32, max_wait=0.005)
        async with served(MyService(), service_time=lambda b: 0.150 + 0.025 * b, batching=policy) as worker:
            ...
        assert [batch.size for batch in worker.recorder.batches] == [10]

Under trio's `autojump_clock` nothing here takes real time: `infer` runs in place, and its service time is
slept on the virtual clock. Requests are decoded one after another, in the order of their arrival.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, TypeVar

import trio

from rpcb_trio._batching import Policy
from rpcb_trio._client import ReplyStream, RpcClient, open_client
from rpcb_trio._executors import Model, Sink
from rpcb_trio._guard import await_infer, outcomes_of, run_infer
from rpcb_trio._instruments import Instrument, Setup
from rpcb_trio._messages import Answer, Batch, Failure, Outcome, Pending, Reply, Request, Run, Settled
from rpcb_trio._parts import END
from rpcb_trio._pipeline import Decoding, Encoding, Hooks, Isolation, Resolved, Worker, open_worker
from rpcb_trio._service import bind
from rpcb_trio._transports import MemoryBroker
from rpcb_trio._typed import is_async
from rpcb_trio.errors import BrokerError, ExecutorHung, OutcomeError, RpcbError

__all__ = ["MemoryBroker", "Recorder", "Served", "VirtualExecutor", "in_place", "push_batch", "served"]

T = TypeVar("T")


class VirtualExecutor:
    """Sleeps `service_time(len(items))` seconds on trio's clock, then runs `infer` in place, or awaits it.

    Where callers take parts, it runs the `stream_infer` of `service`, and sleeps `step_time(len(items))`
    seconds before each further step; without a `service` the whole result is one part.
    """

    def __init__(
        self,
        infer: Callable[[list[Any]], Sequence[Any]],
        service_time: Callable[[int], float] | None = None,
        *,
        service: Any = None,
        step_time: Callable[[int], float] | None = None,
    ) -> None:
        self._infer = infer
        self._service_time = service_time or (lambda _: 0.0)
        self._service = service
        self._step_time = step_time or (lambda _: 0.0)

    async def warm_up(self) -> None:
        """Return at once: there is nothing to warm up."""
        await trio.lowlevel.checkpoint()

    async def idle(self) -> None:
        """Return at once: between batches it is always idle."""
        await trio.lowlevel.checkpoint()

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        """Compute a batch in virtual time; returns one outcome for each item."""
        await trio.sleep(self._service_time(len(items)))
        if is_async(self._infer):
            return await await_infer(self._infer, list(items))
        return run_infer(self._infer, list(items))

    async def stream(self, items: Sequence[Any], whole: Collection[int], sink: Sink) -> None:
        """Compute a batch step by step in virtual time."""
        sink.begin()
        if self._service is None:
            outcomes = outcomes_of(await self.infer(items), len(items))
            await sink.take([list(enumerate(outcomes)), [(number, END) for number in range(len(items))]])
            return
        await trio.sleep(self._service_time(len(items)))
        steps = Model(bind(self._service)).stream(list(items), whole)
        with closing(steps):
            step = next(steps, None)
            while step is not None:
                gone = await sink.take([step])
                await trio.sleep(self._step_time(len(items)))
                try:
                    step = steps.send(gone)
                except StopIteration:
                    step = None


async def in_place(function: Callable[[], T]) -> T:
    """Run a hook on the event loop; the `offload` for virtual time, which real threads must not meet."""
    await trio.lowlevel.checkpoint()
    return function()


class Recorder(Instrument):
    """Records every event, in lists to assert on."""

    def __init__(self) -> None:
        self.setups: list[Setup] = []
        self.changes: list[Mapping[str, tuple[object, object]]] = []
        self.versions: list[str | None] = []
        """Of the models that took over, in order."""
        self.failed_swaps: list[Exception] = []
        self.received: list[Request] = []
        self.repeated: list[Request] = []
        self.hits: list[Request] = []
        """Those that got the reply to an equal one."""
        self.misses: list[Request] = []
        self.refusals: list[tuple[Request, OutcomeError]] = []
        self.batches: list[Batch] = []
        self.service_times: list[float] = []
        self.runs: list[tuple[Run, ...]] = []
        self.failures: list[tuple[Request, OutcomeError]] = []
        self.settled: list[tuple[Answer, Settled]] = []
        self.parts: list[Answer] = []
        """Parts of replies that were confirmed, in order."""
        self.lost_sessions: list[BrokerError] = []
        self.failed_attempts: list[RpcbError] = []
        self.blockages: list[str | None] = []
        """The reason of each, and None for each end of one."""
        self.drain_steps: list[str] = []
        self.hangs: list[tuple[ExecutorHung, Batch | None]] = []
        self.left: int | None = None
        """How many requests were unanswered when the worker stopped; None while it runs."""

    def worker_started(self, setup: Setup) -> None:
        """Record it in `setups`."""
        self.setups.append(setup)

    def settings_changed(self, changes: Mapping[str, tuple[object, object]], setup: Setup) -> None:
        """Record what has changed in `changes`, and what it is now in `setups`."""
        self.changes.append(changes)
        self.setups.append(setup)

    def requests_received(self, requests: Sequence[Request]) -> None:
        """Record them in `received`."""
        self.received.extend(requests)

    def model_swapped(self, version: str | None) -> None:
        """Record it in `versions`."""
        self.versions.append(version)

    def swap_failed(self, version: str | None, error: Exception) -> None:  # noqa: ARG002 - the hook's arguments
        """Record the error in `failed_swaps`."""
        self.failed_swaps.append(error)

    def request_repeated(self, request: Request) -> None:
        """Record it in `repeated`."""
        self.repeated.append(request)

    def cache_hit(self, request: Request) -> None:
        """Record it in `hits`."""
        self.hits.append(request)

    def cache_missed(self, request: Request) -> None:
        """Record it in `misses`."""
        self.misses.append(request)

    def request_refused(self, request: Request, error: OutcomeError, cost: float | None) -> None:  # noqa: ARG002 - the hook's arguments
        """Record it in `refusals`."""
        self.refusals.append((request, error))

    def request_failed(self, request: Request, error: OutcomeError) -> None:
        """Record it in `failures`."""
        self.failures.append((request, error))

    def batch_closed(self, batch: Batch) -> None:
        """Record it in `batches`."""
        self.batches.append(batch)

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:  # noqa: ARG002 - the hook's arguments
        """Record the time in `service_times`, and the runs of `infer` in `runs`."""
        self.service_times.append(seconds)
        self.runs.append(tuple(runs))

    def parts_sent(self, parts: Sequence[Answer]) -> None:
        """Record them in `parts`."""
        self.parts.extend(parts)

    def executor_hung(self, error: ExecutorHung, batch: Batch | None) -> None:
        """Record it in `hangs`."""
        self.hangs.append((error, batch))

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        """Record them in `settled`."""
        self.settled.extend(zip(answers, settled, strict=True))

    def session_lost(self, error: BrokerError, retry_in: float) -> None:  # noqa: ARG002 - the hook's arguments
        """Record the error in `lost_sessions`."""
        self.lost_sessions.append(error)

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:  # noqa: ARG002 - the hook's arguments
        """Record the error in `failed_attempts`."""
        self.failed_attempts.append(error)

    def session_blocked(self, reason: str) -> None:
        """Record the reason in `blockages`."""
        self.blockages.append(reason)

    def session_unblocked(self) -> None:
        """Record it in `blockages`, as None."""
        self.blockages.append(None)

    def drain_step(self, step: str) -> None:
        """Record it in `drain_steps`."""
        self.drain_steps.append(step)

    def worker_stopped(self, left: int) -> None:
        """Record how many in `left`."""
        self.left = left


class Served:
    """A service under test: call it, look at its events, and reach its broker and its worker."""

    def __init__(
        self, client: RpcClient, recorder: Recorder, broker: MemoryBroker, worker: Worker, queue: str
    ) -> None:
        self._queue = queue
        self.client = client
        self.recorder = recorder
        self.broker = broker
        self.worker = worker

    async def call(self, body: bytes, *, timeout: float = 30.0) -> Reply:  # noqa: ASYNC109 - as RpcClient.call
        """Call the service; see `RpcClient.call`."""
        return await self.client.call(body, queue=self._queue, timeout=timeout)

    def stream(self, body: bytes, *, timeout: float = 30.0) -> ReplyStream:
        """Have the reply in parts; see `RpcClient.stream`."""
        return self.client.stream(body, queue=self._queue, timeout=timeout)


@asynccontextmanager
async def served(
    service: Any,
    *,
    service_time: Callable[[int], float] | None = None,
    step_time: Callable[[int], float] | None = None,
    executors: int = 1,
    batching: Policy | None = None,
    prefetch: int | None = None,
    drain_timeout: float = 30.0,
) -> AsyncIterator[Served]:
    """Serve a service from an embedded broker, in virtual time; leaving it drains the worker.

    `service_time(b)` says how many seconds a batch of `b` takes; without it batches take none. Where parts
    are taken, that is the time until the first step, and `step_time(b)` that of each further one.
    """
    bound = bind(service)
    broker, recorder = MemoryBroker(), Recorder()
    async with (
        open_worker(
            bound,
            broker,
            bound.name,
            batching=batching,
            prefetch=prefetch,
            executors=[
                VirtualExecutor(bound.infer, service_time, service=bound, step_time=step_time)
                for _ in range(executors)
            ],
            offload=in_place,
            decode_threads=1,  # so that the order of arrival is kept, run after run
            drain_timeout=drain_timeout,
            instruments=[recorder],
        ) as worker,
        open_client(broker) as client,
    ):
        yield Served(client, recorder, broker, worker, bound.name)


async def push_batch(service: Any, bodies: Sequence[bytes]) -> list[Reply]:
    """Push bodies through a service's hooks as one batch, without any broker; one reply for each.

    Failures are isolated and encoded as by a worker.
    """
    bound = bind(service)
    hooks = Hooks(in_place, most=1)
    decoding, encoding = Decoding(bound, hooks), Encoding(bound, hooks)
    requests = [Request(body=body, arrived=trio.current_time()) for body in bodies]
    decoded = [await decoding.decode(request) for request in requests]
    outcomes: dict[Request, Outcome[Any]] = {
        request: each for request, each in zip(requests, decoded, strict=True) if isinstance(each, Failure)
    }
    results = defaultdict[Request, list[Any]](list)
    while members := [each for each in decoded if isinstance(each, Pending)]:
        computed = await Isolation(VirtualExecutor(bound.infer), given=decoding.given).infer(members)
        decoded = []
        for member, outcome in zip(members, computed, strict=True):
            ending = await _after(member, outcome, decoding, encoding, results[member.request])
            if isinstance(ending, Pending):
                decoded.append(ending)
            else:
                outcomes[member.request] = ending
    answers = await encoding.encode([Resolved(request, outcomes[request]) for request in requests])
    return [answer.reply for answer in answers if answer.reply is not None]


async def _after(
    member: Pending, outcome: Outcome[Any], decoding: Decoding, encoding: Encoding, results: list[Any]
) -> Pending | Outcome[Any]:
    """What comes after a computed member: its request's next piece, or its outcome."""
    if member.rest is None:
        return outcome
    if isinstance(outcome, Failure):
        await decoding.close_pieces(member)
        return outcome
    results.append(outcome.value)
    return await decoding.following_piece(member) or await encoding.join(member.request, results)
