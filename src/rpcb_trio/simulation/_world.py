"""The world around a batcher: a clock that never sleeps, arrivals, and executors that compute nothing.

Two tasks, the batcher and the world, talk as the pipeline's stages do; and when nothing can run, the clock
goes to the next deadline:

    load ─▶ pending ─▶ Batcher ─▶ batches ─▶ running ─▶ completed, idle, and the load's next requests
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

import trio

from rpcb_trio._batching import Batcher, Decision, Policy
from rpcb_trio._messages import NO_HEADERS, Batch, Ending, Pending, Request, Run
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._shares import Shares
from rpcb_trio.errors import OutcomeError, Overloaded, SettingError
from rpcb_trio.simulation._found import SimulatedBatch, SimulatedRequest, Simulation
from rpcb_trio.simulation._loads import Arrival, Law, Load, pending_of

NEVER = 1e15
"""Seconds, thirty million years: nothing that matters happens so late."""


def simulate(
    policy: Policy,
    load: Load,
    law: Law,
    *,
    executors: int = 1,
    noise: Callable[[], float] | None = None,
    shares: Shares | None = None,
    max_pending: int | None = None,
) -> Simulation:
    """Let a policy serve a load until every request has been answered; in virtual time, which begins at 0.

    It blocks, and starts an event loop of its own: on trio call it in a thread. What arrives or is computed
    at the very instant of a decision is known to that decision.

    Args:
        policy: the object that would decide in a worker. What it learns stays.
        load: when callers send requests.
        law: how many seconds a batch takes.
        executors: how many batches can be computed at once.
        noise: a factor for each batch's service time.
        shares: lets the load's tenants share the device, as in a worker.
        max_pending: how many requests may wait; further ones are refused as overloaded, as in a worker.

    Raises:
        SettingError: the load, the law or the number of executors makes no sense, or the policy holds
            requests for ever.
    """
    if executors < 1:
        raise SettingError(f"executors is {executors}; it must be at least 1")
    world = _World(load, law, executors, noise, shares=shares, max_pending=max_pending)
    trio.run(world.run, policy, clock=_VirtualClock())
    return world.found()


class _VirtualClock(trio.abc.Clock):
    """Stands still while a task can run. Unlike the autojump clock it meets deadlines to the last bit."""

    def __init__(self) -> None:
        self._now = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        # trio asks only when no task can run: what it would sleep for comes at once
        self._now = max(self._now, deadline)
        return 0.0


class _World:
    def __init__(
        self,
        load: Load,
        law: Law,
        executors: int,
        noise: Callable[[], float] | None,
        *,
        shares: Shares | None,
        max_pending: int | None,
    ) -> None:
        self._load = load
        self._law = law
        self._executors = executors
        self._noise = noise
        self._shares = shares
        self._max_pending = max_pending
        self._order = count()
        self._scheduled: list[tuple[float, int, Arrival]] = []
        self._running: list[tuple[float, int, Batch, Run]] = []
        self._arrived: list[Arrival] = []
        self._ended: dict[int, SimulatedRequest] = {}
        self._batches: list[SimulatedBatch] = []
        self._idle = trio.Semaphore(0)
        self._sleep = trio.CancelScope()
        self._send_pending, self._pending = trio.open_memory_channel[Sequence[Pending]](math.inf)

    def found(self) -> Simulation:
        requests = tuple(self._ended[tag] for tag in range(len(self._arrived)))
        return Simulation(requests, tuple(self._batches), self._executors)

    async def run(self, policy: Policy) -> None:
        send_batches, batches = trio.open_memory_channel[Batch](self._executors)
        self._batcher = Batcher(
            self._pending,
            send_batches,
            idle=self._idle,
            policy=_Punctual(policy, self),
            refuse=self._refuse,
            shares=self._shares,
            max_pending=self._max_pending,
        )
        async with open_serving_nursery() as nursery:
            nursery.start_soon(self._batcher.run)
            with self._send_pending, batches:
                await self._execute(batches)

    async def _execute(self, batches: trio.MemoryReceiveChannel[Batch]) -> None:
        for _ in range(self._executors):
            self._idle.release()
        self._schedule(self._load.first(), 0.0)
        self._arrive(0.0)
        while self._is_unfinished():
            with trio.CancelScope(deadline=self._next_event()) as self._sleep:
                self._start(await batches.receive())
            now = trio.current_time()
            if now >= NEVER:
                raise SettingError("the policy holds a request for ever; let its hold_until be a time")
            self._arrive(now)
            while self._running and self._running[0][0] <= now:
                self._complete(now)

    def _is_unfinished(self) -> bool:
        return bool(self._scheduled) or len(self._ended) < len(self._arrived)

    def _next_event(self) -> float:
        """When to wake; while no executor is idle, the batcher need not know of arrivals."""
        if not self._is_unfinished():
            return -math.inf
        completion = self._running[0][0] if self._running else NEVER
        if len(self._running) == self._executors or not self._scheduled:
            return completion
        return min(completion, self._scheduled[0][0])

    def is_behind(self, now: float) -> bool:
        """Whether something has happened that the batcher does not know of yet."""
        return bool(self._scheduled and self._scheduled[0][0] <= now) or bool(
            self._running and self._running[0][0] <= now
        )

    def _arrive(self, now: float) -> None:
        while self._scheduled and self._scheduled[0][0] <= now:
            at, _, arrival = heappop(self._scheduled)
            pending = pending_of(arrival, at, len(self._arrived), self._headers(arrival))
            self._arrived.append(arrival)
            if self._is_full(pending.request):
                self._end(pending, now, refused=Overloaded.code)
            else:
                self._send_pending.send_nowait((pending,))

    def _headers(self, arrival: Arrival) -> Mapping[str, object]:
        if self._shares is None or arrival.tenant is None:
            return NO_HEADERS
        return {self._shares.tenant: arrival.tenant}

    def _is_full(self, request: Request) -> bool:
        most = self._max_pending
        if most is None or self._batcher.backlog < most:
            return False
        return self._batcher.is_over_its_share(request, most)

    def _start(self, batch: Batch) -> None:
        work, now = batch.work, trio.current_time()
        seconds = self._law(work) * (1.0 if self._noise is None else self._noise())
        if not 0 <= seconds < math.inf:
            raise SettingError(f"the law gives {seconds:g} seconds for {work}; it must be 0 or more")
        heappush(
            self._running, (now + seconds, len(self._batches), batch, Run(work, seconds, Ending.COMPUTED))
        )
        self._batches.append(
            SimulatedBatch(batch.closed, batch.size, work, batch.trigger, batch.predicted, seconds)
        )

    def _complete(self, now: float) -> None:
        _, index, batch, run = heappop(self._running)
        self._batcher.completed(batch, (run,))
        for member in batch.members:
            self._end(member, now, finished=now, batch=index)
        self._arrive(now)
        self._idle.release()

    def _refuse(self, pending: Pending, error: OutcomeError) -> None:
        self._end(pending, trio.current_time(), refused=error.code)
        self._sleep.deadline = self._next_event()

    def _end(self, pending: Pending, now: float, **ending: Any) -> None:
        tag = pending.request.tag
        if tag in self._ended:
            raise RuntimeError(f"request {tag} was answered twice")
        arrival = self._arrived[tag]
        self._ended[tag] = SimulatedRequest(arrival, **ending)
        self._schedule(self._load.answered(arrival, now), now)

    def _schedule(self, arrivals: Iterable[Arrival], now: float) -> None:
        for each in arrivals:
            if not now <= each.at < NEVER:
                raise SettingError(f"the load sends a request at {each.at:g} s; it must be {now:g} or later")
            heappush(self._scheduled, (each.at, next(self._order), each))


class _Punctual(Policy):
    """The policy, asked only when all of this instant is known: trio runs its tasks in no certain order."""

    def __init__(self, policy: Policy, world: _World) -> None:
        self._policy = policy
        self._world = world

    @property
    def max_batch_size(self) -> int:
        return self._policy.max_batch_size

    @property
    def ageing(self) -> float:
        return self._policy.ageing

    def arrived(self, pending: Pending) -> None:
        self._policy.arrived(pending)

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None:
        self._policy.completed(batch, runs, now)

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        if self._world.is_behind(now):
            return Decision(hold_until=now)
        return self._policy.decide(pending, now, final=final, others_idle=others_idle)
