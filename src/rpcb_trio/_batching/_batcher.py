"""The batcher: the task around a policy."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from itertools import count

import trio

from rpcb_trio._batching._policy import Decision, Policy
from rpcb_trio._messages import Batch, Pending

_batch_ids = count(1)


async def run_batcher(
    arrivals: trio.MemoryReceiveChannel[Pending],
    batches: trio.MemorySendChannel[Batch],
    *,
    idle: trio.Semaphore,
    policy: Policy,
    expire: Callable[[Pending], None],
) -> None:
    """Form batches out of `arrivals` until those end and nothing is pending; then close `batches`.

    Args:
        arrivals: decoded requests, in any number; this end is closed on leaving.
        batches: takes one batch for each release of `idle`; needs a buffer for one batch per executor.
        idle: an executor releases it once each time it wants a batch.
        policy: decides; asked only while an executor is idle.
        expire: called with each request that will not be computed.
    """
    waiting = _WaitingRoom(arrivals)
    with arrivals, batches:
        while True:
            await idle.acquire()  # first an executor is idle, ...
            batch = await _next_batch(waiting, policy, expire)  # ... then the batch is closed
            if batch is None:
                return
            batches.send_nowait(batch)


async def _next_batch(
    waiting: _WaitingRoom, policy: Policy, expire: Callable[[Pending], None]
) -> Batch | None:
    while True:
        waiting.top_up()  # what is already here is taken without waiting, however late we are
        now = trio.current_time()
        decision = policy.decide(waiting.pending, now, final=waiting.final)
        waiting.release(decision)
        for pending in decision.expired:
            expire(pending)
        if decision.batch:
            return Batch(id=next(_batch_ids), members=decision.batch, trigger=decision.trigger, closed=now)
        if waiting.final and not waiting.pending:
            return None
        with trio.move_on_at(decision.hold_until):
            await waiting.receive()


class _WaitingRoom:
    """The pending requests, oldest first, and whether more can come."""

    def __init__(self, arrivals: trio.MemoryReceiveChannel[Pending]) -> None:
        self._arrivals = arrivals
        self.pending: list[Pending] = []
        self.final = False

    def top_up(self) -> None:
        try:
            while True:
                self._admit(self._arrivals.receive_nowait())
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            self.final = True

    async def receive(self) -> None:
        if self.final:
            await trio.sleep_forever()  # a policy that still holds is asked again when its hold ends
        try:
            self._admit(await self._arrivals.receive())
        except trio.EndOfChannel:
            self.final = True

    def _admit(self, pending: Pending) -> None:
        insort(self.pending, pending, key=_arrival)  # several threads decode, so one may be overtaken

    def release(self, decision: Decision) -> None:
        leaving = {id(each) for each in (*decision.batch, *decision.expired)}
        if leaving:
            self.pending = [each for each in self.pending if id(each) not in leaving]


def _arrival(pending: Pending) -> tuple[float, int]:
    return pending.request.arrived, pending.request.tag
