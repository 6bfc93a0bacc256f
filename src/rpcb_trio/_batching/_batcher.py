"""The batcher: the task around a policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count

import trio

from rpcb_trio._batching._policy import Decision, Policy
from rpcb_trio._batching._waiting import Waiting
from rpcb_trio._messages import Batch, Pending, Request, Run
from rpcb_trio._shares import Shares
from rpcb_trio.errors import Expired, OutcomeError, Overloaded, TooLate

_batch_ids = count(1)


class Batcher:
    """Forms batches of arrivals, one for each idle executor, as a policy decides.

    Args:
        arrivals: decoded requests, those together that came together; `run` closes this end.
        batches: takes one batch for each release of `idle`; needs a buffer for one batch per executor.
        idle: an executor releases it once for each batch that it is ready to compute.
        policy: decides; asked only while an executor is idle. See `change` for another one.
        refuse: called with each request that will not be computed, and the reason.
        shares: lets tenants share the worker; None for requests in turn, whosever they are.
        max_pending: how many may wait before one tenant makes room for another; without `shares`, any number.
        held_back: until when more may come that belongs into the next batch; asked before each decision.
        holds: called whenever the policy holds a batch.
        told: what the policy is told of requests that arrive together.
    """

    def __init__(
        self,
        arrivals: trio.MemoryReceiveChannel[Sequence[Pending]],
        batches: trio.MemorySendChannel[Batch],
        *,
        idle: trio.Semaphore,
        policy: Policy,
        refuse: Callable[[Pending, OutcomeError], None],
        shares: Shares | None = None,
        max_pending: int | None = None,
        held_back: Callable[[], float] = lambda: -math.inf,
        holds: Callable[[], None] = lambda: None,
        told: Callable[[Sequence[Pending]], Sequence[Pending]] = lambda arrivals: arrivals,
    ) -> None:
        self._arrivals = arrivals
        self._batches = batches
        self._held_back = held_back
        self._holds = holds
        self._idle = idle
        self._policy = policy
        self._refuse = refuse
        self._waiting = _WaitingRoom(arrivals, policy, refuse, shares, max_pending, told=told)
        self._flushes = False
        self._hold = trio.CancelScope()
        """Of what waits until the policy's `hold_until`."""

    @property
    def backlog(self) -> int:
        """How many decoded requests wait for a batch."""
        self._waiting.top_up()
        return len(self._waiting.pending)

    def is_over_its_share(self, request: Request, most: int) -> bool:
        """Whether one more is beyond its tenant's share of so many that may wait; without shares, always."""
        return self._waiting.pending.is_over_its_share(request, most)

    def overloaded(self, request: Request, most: int) -> Overloaded:
        """Why one more is refused where so many may wait."""
        return self._waiting.overloaded(request, most)

    async def run(self) -> None:
        """Form batches until the arrivals end and nothing is pending; then close `batches`."""
        with self._arrivals, self._batches:
            try:
                while True:
                    await self._idle.acquire()  # first an executor is idle, ...
                    batch = await self._next_batch()  # ... then the batch is closed
                    if batch is None:
                        return
                    self._batches.send_nowait(batch)
            finally:
                self._waiting.final = True  # a batch may be completed though `run` was cancelled

    def change(self, policy: Policy, shares: Shares | None, max_pending: int | None) -> None:
        """Ask another policy from now on, at once where the earlier one holds a batch; and share otherwise.

        It has succeeded the earlier one, which was told of what waits.
        """
        self._policy = self._waiting.policy = policy
        self._waiting.share(shares, max_pending)
        self.ask_again()

    def flush(self) -> None:
        """Hold no batch for more from now on: nothing comes but further pieces of what has come."""
        self._flushes = True
        self.ask_again()

    def ask_again(self) -> None:
        """Ask the policy at once where it, or `held_back`, holds a batch."""
        self._hold.cancel()

    def withdraw(self, pending: Pending, error: OutcomeError) -> None:
        """Refuse one that waits; nothing is done where it waits no more."""
        waiting = self._waiting
        waiting.top_up()
        if pending in waiting.pending:
            waiting.pending.leave((pending,))
            self._refuse(pending, error)
            self.ask_again()

    def completed(self, batch: Batch, runs: Sequence[Run]) -> None:
        """Tell the policy of a computed batch, after all that has arrived by now."""
        self._waiting.top_up()
        self._policy.completed(batch, runs, trio.current_time())

    @property
    def _is_final(self) -> bool:
        return self._waiting.final or self._flushes

    async def _next_batch(self) -> Batch | None:
        waiting = self._waiting
        while True:
            waiting.top_up()  # what is already here is taken without waiting, however late we are
            if not waiting.pending:
                if waiting.final:
                    return None
                await waiting.receive()
                continue
            now = trio.current_time()
            until = self._held_back()
            if now >= until or self._is_final:
                decision = self._decide(now)
                if decision.batch:
                    return Batch(
                        id=next(_batch_ids),
                        members=decision.batch,
                        trigger=decision.trigger,
                        closed=now,
                        predicted=decision.predicted,
                    )
                if decision.expired or decision.too_late:
                    continue  # what is left may be ready to go
                until = decision.hold_until
                self._holds()
            with trio.move_on_at(until) as self._hold:
                await waiting.receive()

    def _decide(self, now: float) -> Decision:
        """Ask the policy, and have leave what it names."""
        pending = self._waiting.pending
        shown = pending.shown(now, self._policy)
        decision = self._policy.decide(shown, now, final=self._is_final, others_idle=self._idle.value)
        pending.charge(decision.batch)
        pending.leave((*decision.batch, *decision.expired, *decision.too_late))
        self._refuse_some(decision)
        return decision

    def _refuse_some(self, decision: Decision) -> None:
        for pending in decision.expired:
            self._refuse(
                pending, Expired("the request's time to live ran out before a batch had room for it")
            )
        for pending in decision.too_late:
            self._refuse(
                pending,
                TooLate("the request would have expired before its batch was done; it was not computed"),
            )


class _WaitingRoom:
    """The pending requests, and whether more can come."""

    def __init__(
        self,
        arrivals: trio.MemoryReceiveChannel[Sequence[Pending]],
        policy: Policy,
        refuse: Callable[[Pending, OutcomeError], None],
        shares: Shares | None,
        max_pending: int | None,
        *,
        told: Callable[[Sequence[Pending]], Sequence[Pending]],
    ) -> None:
        self._arrivals = arrivals
        self.policy = policy
        self._told = told
        self._refuse = refuse
        self.pending = Waiting()
        self._shares: Shares | None = None
        self.share(shares, max_pending)
        self.final = False

    def share(self, shares: Shares | None, max_pending: int | None) -> None:
        self._most = math.inf if shares is None or max_pending is None else max_pending
        if shares != self._shares:
            self._shares = shares
            self.pending = Waiting(self.pending, shares)

    def top_up(self) -> None:
        if self.final:
            return
        try:
            while True:
                self._admit(self._arrivals.receive_nowait())
        except trio.WouldBlock:
            pass  # that is all for now
        except trio.EndOfChannel:
            self.final = True

    async def receive(self) -> None:
        if self.final:
            await trio.sleep_forever()  # if the policy still holds, it is asked again when its hold ends
        try:
            self._admit(await self._arrivals.receive())
        except trio.EndOfChannel:
            self.final = True

    def _admit(self, arrivals: Sequence[Pending]) -> None:
        self.pending.join(arrivals)
        for each in self._told(arrivals):
            self.policy.arrived(each)
        if len(self.pending) > self._most:
            self._make_room(arrivals)

    def _make_room(self, arrivals: Sequence[Pending]) -> None:
        """Turn away one of the tenant that has most, for each that has come of one that had not its share.

        Redelivered requests were admitted before, so nothing makes room for them.
        """
        for each in arrivals:
            if len(self.pending) <= self._most:
                return
            last = None if each.request.redelivered else self.pending.last_of_the_longest()
            if last is not None:
                self.pending.leave((last,))
                self._refuse(last, self.overloaded(last.request, int(self._most)))

    def overloaded(self, request: Request, most: int) -> Overloaded:
        reason = f"{most} requests wait already (max_pending)"
        if self._shares is not None:
            reason += f"; tenant {self._shares.shown_tenant(request)} has its share of them"
        return Overloaded(reason)
