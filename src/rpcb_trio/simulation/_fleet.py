"""Several workers on one queue, and the broker that deals its messages to them: events in order of time.

It decides as the batcher and the worker do, but has no tasks: a batcher's loop, a worker's prefetch and the
broker's rule are each a few lines here, so that a network's delay lies between them.

    load ─▶ queue ─▶ consumers by priority, in turn, up to their prefetch ─▶ waiting ─▶ executors ─▶ replies
              ◀──────────────── look, consume, ack ────────────────┘
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any, cast

import msgspec

from rpcb_trio._batching import Consume, Found, Intake, Learned, Look, Policy, Prefetching, Steps, Waiting
from rpcb_trio._messages import Batch, Ending, Request, Run
from rpcb_trio.errors import SettingError
from rpcb_trio.simulation._found import SimulatedBatch, SimulatedRequest, Simulation
from rpcb_trio.simulation._loads import Arrival, Law, Load, pending_of


class SimulatedWorker(msgspec.Struct, frozen=True):
    """One worker of a fleet.

    `prefetch` is what `serve` calls so, without `prefetch_follows`; None stands for what `serve` does by
    itself.
    """

    policy: Policy
    law: Law
    executors: int = 1
    prefetch: int | None = None
    priority: int = 0
    """Of its consumer, where `prefetch` is set."""


def simulate_fleet(workers: Iterable[SimulatedWorker], load: Load, *, delay: float = 0.0) -> Simulation:
    """Let workers that share a queue serve a load until every request has been answered.

    Args:
        workers: each with a policy of its own.
        load: when callers send requests.
        delay: seconds that anything takes from a worker or a caller to the broker, or back.

    Raises:
        SettingError: there is no worker.
    """
    fleet = _Fleet(tuple(workers), load, delay)
    fleet.run()
    return fleet.found()


class _Consumer:
    """As the broker sees it."""

    def __init__(self, worker: _Worker, prefetch: int, priority: int) -> None:
        self.worker = worker
        self.prefetch = prefetch
        self.priority = priority
        self.unacked = set[int]()


class _Fleet:
    """The broker, and the world around it."""

    def __init__(self, workers: Sequence[SimulatedWorker], load: Load, delay: float) -> None:
        if not workers:
            raise SettingError("a fleet needs a worker at least")
        self.now = 0.0
        self.delay = delay
        self._load = load
        self._order = count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._queue: deque[int] = deque()
        self._open = 0
        """How many requests were sent, and their replies have not come."""
        self._consumers: list[_Consumer] = []
        self._dealt: dict[int, _Consumer] = {}
        self.arrived: list[Arrival] = []
        self.ended: dict[int, SimulatedRequest] = {}
        self.batches: list[SimulatedBatch] = []
        self.batch_ids = count(1)
        self._workers = [_Worker(self, number, each) for number, each in enumerate(workers)]

    def found(self) -> Simulation:
        requests = tuple(self.ended[tag] for tag in range(len(self.arrived)))
        executors = sum(worker.executors for worker in self._workers)
        return Simulation(requests, tuple(self.batches), executors)

    def at(self, time: float, call: Callable[..., None], *args: Any) -> None:
        heappush(self._events, (time, next(self._order), call, args))

    def later(self, trips: int, call: Callable[..., None], *args: Any) -> None:
        """So many ways over the network later."""
        self.at(self.now + trips * self.delay, call, *args)

    def run(self) -> None:
        for worker in self._workers:
            worker.begin()
        self._send(self._load.first())
        while self._open:
            self.now, _, call, args = heappop(self._events)
            call(*args)

    def consume(self, old: _Consumer | None, new: _Consumer | None) -> None:
        if old in self._consumers:
            self._consumers.remove(old)
        if new is not None:
            self._consumers.append(new)
        self._deal()

    def look(self) -> Found:
        return Found(len(self._queue), len(self._consumers))

    def ack(self, tags: Iterable[int]) -> None:
        for tag in tags:
            self._dealt.pop(tag).unacked.discard(tag)
        self._deal()

    def answer(self, tag: int) -> None:
        """The reply has reached its caller."""
        self._open -= 1
        self._send(self._load.answered(self.arrived[tag], self.now))

    def _send(self, arrivals: Iterable[Arrival]) -> None:
        for each in arrivals:
            self._open += 1
            self.at(each.at + self.delay, self._enter, each)

    def _enter(self, arrival: Arrival) -> None:
        self._queue.append(len(self.arrived))
        self.arrived.append(arrival)
        self._deal()

    def _deal(self) -> None:
        while self._queue:
            ready = [each for each in self._consumers if len(each.unacked) < each.prefetch]
            if not ready:
                return
            taker = max(ready, key=lambda each: each.priority)
            self._consumers.remove(taker)
            self._consumers.append(taker)
            tag = self._queue.popleft()
            taker.unacked.add(tag)
            self._dealt[tag] = taker
            self.later(1, taker.worker.receive, tag, taker)


class _Worker:
    """A worker: its batcher, its executors, and what it asks the broker for."""

    def __init__(self, fleet: _Fleet, number: int, plan: SimulatedWorker) -> None:
        self._fleet = fleet
        self._number = number
        self._plan = plan
        self.executors = plan.executors
        self._policy = plan.policy
        self._waiting = Waiting()
        self._running = 0
        self._holding = 0
        self._open: dict[int, _Consumer] = {}
        self._consumer: _Consumer | None = None
        self._steps: Steps | None = None
        self._look_again = False
        self._most = plan.policy.max_batch_size * (plan.executors + 1)
        self._follow: Prefetching | None = None
        if plan.prefetch is None:
            intake = Intake(lambda: len(self._open), lambda: len(self._waiting), self._room)
            self._follow = Prefetching(
                intake,
                lambda: plan.policy,
                executors=plan.executors,
                most=self._most,
                is_set=False,
                begun=self._most,
                learned=Learned(),
            )

    def begin(self) -> None:
        self._consumer = _Consumer(self, self._plan.prefetch or self._most, self._plan.priority)
        self._fleet.consume(None, self._consumer)
        self._look()

    def receive(self, tag: int, consumer: _Consumer) -> None:
        self._open[tag] = consumer
        pending = pending_of(self._fleet.arrived[tag], self._fleet.now, tag)
        self._waiting.join([pending])
        for each in [pending] if self._follow is None else self._follow.arrived([pending]):
            self._policy.arrived(each)
        self._decide()

    def _room(self, settled: Iterable[Request]) -> int:
        if self._consumer is None:
            return 0
        left = sum(1 for each in self._open.values() if each is self._consumer)
        left -= sum(1 for each in settled if self._open.get(each.tag) is self._consumer)
        return max(0, self._consumer.prefetch - left)

    def _decide(self) -> None:
        now = self._fleet.now
        while self._running < self.executors and self._waiting:
            if self._is_held_back(now):
                return
            others = self.executors - self._running - 1
            decision = self._policy.decide(self._waiting, now, final=False, others_idle=others)
            self._waiting.leave((*decision.batch, *decision.expired, *decision.too_late))
            for code, refused in (("expired", decision.expired), ("too-late", decision.too_late)):
                if refused:
                    self._answer([each.request.tag for each in refused], refused=code)
            if decision.batch:
                self._start(
                    Batch(
                        id=next(self._fleet.batch_ids),
                        members=decision.batch,
                        trigger=decision.trigger,
                        closed=now,
                        predicted=decision.predicted,
                    )
                )
            elif not (decision.expired or decision.too_late):
                self._wait(decision.hold_until)
                if self._follow is not None and self._follow.holds():
                    self._look()
                return

    def _is_held_back(self, now: float) -> bool:
        """Whether more is about to come, that was asked for."""
        follow = self._follow
        if follow is None or now >= follow.hold_until or len(self._waiting) >= self._policy.max_batch_size:
            return False
        if self._steps is None and not self._room(()):
            return False
        self._wait(follow.hold_until)
        return True

    def _wait(self, until: float) -> None:
        self._holding += 1
        self._fleet.at(max(until, self._fleet.now), self._end_hold, self._holding)

    def _end_hold(self, holding: int) -> None:
        if holding == self._holding:
            self._decide()

    def _start(self, batch: Batch) -> None:
        now, fleet = self._fleet.now, self._fleet
        self._running += 1
        seconds = self._plan.law(batch.work)
        index = len(fleet.batches)
        fleet.batches.append(
            SimulatedBatch(
                batch.closed, batch.size, batch.work, batch.trigger, batch.predicted, seconds, self._number
            )
        )
        if self._follow is not None and self._follow.closed(batch, now):
            self._look()
        fleet.at(now + seconds, self._complete, batch, index, seconds)

    def _complete(self, batch: Batch, index: int, seconds: float) -> None:
        now = self._fleet.now
        self._running -= 1
        self._policy.completed(batch, (Run(batch.work, seconds, Ending.COMPUTED),), now)
        self._answer([member.request.tag for member in batch.members], finished=now, batch=index)
        if self._follow is not None and self._follow.completed(batch, seconds, now):
            self._look()
        self._decide()

    def _answer(self, tags: Sequence[int], **ending: Any) -> None:
        """Publish the replies; the acks follow the broker's confirm."""
        fleet = self._fleet
        for tag in tags:
            arrival = fleet.arrived[tag]
            if "finished" in ending:
                ending["finished"] = fleet.now + 2 * fleet.delay
            fleet.ended[tag] = SimulatedRequest(arrival, **ending)
            fleet.later(2, fleet.answer, tag)
        fleet.later(2, self._settle, tags)

    def _settle(self, tags: Sequence[int]) -> None:
        for tag in tags:
            del self._open[tag]
        self._fleet.later(1, self._fleet.ack, tags)

    def _look(self) -> None:
        if self._follow is None:
            return
        if self._steps is not None:
            self._look_again = True
            return
        self._steps = self._follow.look(self._fleet.now)
        self._go_on(None)

    def _go_on(self, found: Found | None) -> None:
        follow, steps = cast(Prefetching, self._follow), cast(Steps, self._steps)
        try:
            step = steps.send(found)
        except StopIteration:
            self._steps = None
            if self._look_again:
                self._look_again = False
                self._look()
            elif (then := follow.next_look) < math.inf:
                self._fleet.at(max(then, self._fleet.now), self._look_if_due)
            return
        begun, fleet = self._fleet.now, self._fleet
        if isinstance(step, Look):
            fleet.later(1, lambda: fleet.later(1, self._took, step, begun, fleet.look()))
        else:
            old, self._consumer = self._consumer, None
            new = _Consumer(self, step.prefetch, step.priority) if step.prefetch else None
            fleet.later(3 if new else 1, self._consume, step, begun, old, new)

    def _consume(self, step: Consume, begun: float, old: _Consumer | None, new: _Consumer | None) -> None:
        fleet = self._fleet
        if new is None:
            fleet.consume(old, None)
            fleet.later(1, self._took, step, begun, None)
        else:  # the old one goes a round trip later
            fleet.consume(None, new)
            self._consumer = new
            fleet.later(2, fleet.consume, old, None)
            fleet.later(3, self._took, step, begun, None)

    def _took(self, step: Look | Consume, begun: float, found: Found | None) -> None:
        cast(Prefetching, self._follow).took(step, self._fleet.now - begun, self._fleet.now)
        self._go_on(found)
        if self._steps is None:
            self._decide()

    def _look_if_due(self) -> None:
        if self._follow is not None and self._fleet.now >= self._follow.next_look:
            self._look()
