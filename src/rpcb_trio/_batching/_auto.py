"""The policy that needs no tuning: it learns what batches take and which callers return.

An executor that is idle starts at once, unless the numbers say that waiting pays. For requests that come
whenever they like (Poisson) no rule that cannot see the future does better: the best is to start as soon as
K are pending (Deb and Serfozo, 1973), and for service times of the form a + c*b that K is 1 nearly always.
Waiting pays for callers that have just been answered and are on their way back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice

from rpcb_trio._batching._limits import LimitedPolicy, Limits
from rpcb_trio._batching._orders import deadline_of
from rpcb_trio._batching._policy import Decision, Demand, Policy
from rpcb_trio._batching._returning import Expected, ReturningCallers
from rpcb_trio._batching._selection import Choice, best_count, best_prefix, best_window, choose_in_time
from rpcb_trio._batching._service_time import ServiceTime
from rpcb_trio._batching._waiting import Turns, Waiting
from rpcb_trio._bounds import FINITE
from rpcb_trio._messages import Batch, Ending, Pending, Request, Run, Trigger, Work

HORIZON = 0.5
"""A caller that comes back within this share of what a batch of one takes has returned; a later one is not
worth waiting for."""
PRUDENCE = 1.0
"""Deadlines are kept with a margin of so many standard deviations of the service time. More
would cost the others more than it saves."""

SHORTEST_HOLD = 1e-6
"""Seconds: no clock wakes a task sooner."""

CLOSELY = 0.005
"""Seconds: so often, at most, is learned from runs of the same work. Else a fast model would pay more for
that than for itself."""

CHOOSY = 32
"""Batches; for so many is remembered that costs differ, or that deadlines pressed."""

TRUSTED = 3
"""So many runs are observed before any request is refused as too late; the first may be slow."""


class AutoPolicy(LimitedPolicy):
    """Start at once, or hold where that pays, as learned from arrivals and service times; nothing to tune.

    Args:
        max_batch_size: the most requests in one batch.
        max_batch_cost: the most padded cost of a batch, in the unit of `service.cost`.
        batch_sizes: the sizes the model is compiled for (CUDA graphs), if not all.
        latency_objective: saves GPU seconds: hold as long as every request is still answered within so many
            seconds of its arrival. None answers as soon as possible.

    Raises:
        SettingError: one of them is senseless.
    """

    def __init__(
        self,
        max_batch_size: int = 32,
        *,
        max_batch_cost: float = math.inf,
        batch_sizes: Sequence[int] = (),
        latency_objective: float | None = None,
    ) -> None:
        FINITE.check("latency_objective", latency_objective)
        self._limits = Limits(max_batch_size, max_batch_cost=max_batch_cost, batch_sizes=batch_sizes)
        self._objective = latency_objective
        self._callers = ReturningCallers()
        self._horizon = 0.0
        self._begin()
        self._refused_all = False
        self._held_until: float | None = None

    def _begin(self) -> None:
        self._time = ServiceTime()
        self._shape: object = None
        self._counts: dict[tuple[float, int, float], int] = {}
        self._mean_cost = 1.0
        self._computed = 0
        self._learned: Work | None = None
        self._learned_at = -math.inf
        self._choosy = 0
        """For so many batches more it is taken for granted that requests differ."""

    @property
    def settings(self) -> Mapping[str, object]:
        """See `Policy.settings`."""
        return {
            **super().settings,
            "batch_sizes": self._limits.batch_sizes,
            "latency_objective": self._objective,
        }

    def succeed(self, earlier: Policy) -> None:
        """Take over service times and callers as well; see `Policy.succeed`."""
        super().succeed(earlier)
        if isinstance(earlier, AutoPolicy):
            self._time, self._callers = earlier._time, earlier._callers  # noqa: SLF001 - of its own class
            self._mean_cost, self._computed = earlier._mean_cost, earlier._computed  # noqa: SLF001 - likewise
            self._learned, self._learned_at = earlier._learned, earlier._learned_at  # noqa: SLF001 - likewise
            self._refused_all = earlier._refused_all  # noqa: SLF001 - likewise

    @property
    def ageing(self) -> float:
        """A level of priority is worth a second, and no less than a full batch."""
        size = self.max_batch_size
        return max(1.0, self._predict(Work(size, self._mean_cost, size * self._mean_cost)))

    def arrived(self, pending: Pending) -> None:
        """Learn which caller sends, and when."""
        self._callers.arrived(pending.request.reply_to, pending.ready)

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None:
        """Learn what a batch takes, what the device's memory holds, and which callers are answered now."""
        self._limits.learn(runs)
        for run in runs:
            if run.ending is Ending.COMPUTED:
                self._learn(run, now)
        work = runs[0].work if len(runs) == 1 else batch.work
        self._mean_cost = mean = work.total / work.size
        if work.padded > work.total:
            self._choosy = CHOOSY
        elif self._choosy:
            self._choosy -= 1
        if self._time.known:  # else the last one will do
            self._horizon = HORIZON * self._predict(Work(1, mean, mean))
        self._callers.completed([member.request.reply_to for member in batch.members], now, self._horizon)

    def forget(self) -> None:
        """Forget the service times and what the memory holds, and no caller."""
        self._limits.forget()
        self._begin()

    def _learn(self, run: Run, now: float) -> None:
        """Learn what a run takes. Of runs alike that follow each other closely, a few tell as much as all."""
        self._computed += 1
        if run.work == self._learned and self._learned_at <= now < self._learned_at + CLOSELY:
            return
        self._time.observe(self._limits.as_computed(run.work), run.seconds)
        self._learned, self._learned_at = run.work, now

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        """Decide by what was learned; see the module's opening."""
        waiting = Waiting.of(pending)
        expired = waiting.expired(now)
        turns = Turns(waiting, expired, self.ageing if waiting.has_levels else 0.0)
        if not turns:
            return Decision(expired=expired)
        if turns.head.suspect:
            return self._close(Choice((), (turns.head,)), Trigger.ALONE, expired)
        together = turns.before_the_first_suspect()
        choice = self._choose(together, now)
        if not choice.batch:
            return Decision(expired=expired, too_late=choice.too_late)
        trigger = self._full(choice, together, turns)
        if trigger is None:
            trigger, until = self._hold(choice.batch, now, others_idle)
            if trigger is None and not final:
                self._held_until = until
                return Decision(expired=expired, hold_until=until)
        return self._close(choice, trigger or Trigger.FLUSH, expired)

    def demand(self, ending: Sequence[Request], now: float) -> Demand:
        """As many as make one batch; a large choice where requests differ."""
        most = self.max_batch_size
        if self._objective is not None:
            count = most  # it waits for as many
        else:
            coming = self._callers.expected(now).count
            coming += self._callers.returning(request.reply_to for request in ending)
            count = min(most, round(coming))
        mean = self._mean_cost
        return Demand(
            count,
            math.inf if self._choosy else most,
            lambda size: self._predict(Work(size, mean, size * mean)),
        )

    def _choose(self, together: Turns, now: float) -> Choice:
        """The best rate, where that lets all in it be in time; else those that time is left for."""
        batch = self._best_rate(together)
        if not together.dated or self._computed < TRUSTED:
            return Choice((), batch)
        done = now + self._prudent(Work.of([each.cost for each in batch]))
        if all(done <= deadline_of(each) for each in batch):
            return Choice((), batch)
        self._choosy = CHOOSY
        choice = choose_in_time(together, now, self._limits, self._prudent)
        if choice.batch or not self._refused_all:
            self._refused_all = not choice.batch
            return choice
        # if nothing were computed, a wrong prediction would never be put right
        return Choice(choice.too_late[:-1], choice.too_late[-1:], is_pressed=True)

    def _best_rate(self, together: Turns) -> tuple[Pending, ...]:
        if together.costs_differ:
            best = best_window if self._time.padding_matters else best_prefix
            return best(together, self._limits, self._predict)
        first = tuple(islice(together, self.max_batch_size))
        return first if len(first) == 1 else first[: self._best_count(first)]

    def _best_count(self, equals: Sequence[Pending]) -> int:
        """How many of these, which cost the same, make the best rate; found once for each shape."""
        if self._shape is not self._time.shape:
            self._shape = self._time.shape
            self._counts.clear()
        cost = equals[0].cost
        key = cost, len(equals), self._limits.max_padded
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = best_count([cost] * len(equals), self._limits, self._predict)
        return count

    def _full(self, choice: Choice, together: Turns, turns: Turns) -> Trigger | None:
        """Why no more could join, if none could."""
        if len(choice.batch) == self.max_batch_size:
            return Trigger.SIZE
        if choice.is_pressed:
            return Trigger.DEADLINE
        if len(choice.batch) < len(together):
            return Trigger.COST
        return Trigger.WAIT if len(together) < len(turns) else None

    def _hold(self, batch: Sequence[Pending], now: float, others_idle: int) -> tuple[Trigger | None, float]:
        """Why to close now, or until when to hold."""
        coming = self._callers.expected(now)
        objective = self._objective if self._time.known else None  # or all of it might be spent on the hold
        if objective is None and (others_idle or not coming.count):
            return self._unheld(coming, now), now  # another executor is idle for those on their way
        work = Work.of([each.cost for each in batch])
        room = min(coming.count, self.max_batch_size - work.size)
        if objective is None and work.size * coming.within >= room * self._predict(work):
            return self._unheld(coming, now), now
        more = max(1, round(room))
        grown = Work(work.size + more, work.longest, work.total + more * work.longest)
        due = min(map(self._due, batch)) - self._prudent(grown)
        until = due if objective is not None else min(coming.until, due)
        if until <= now:
            return Trigger.DEADLINE, now
        if objective is None and until - now < SHORTEST_HOLD:
            return self._unheld(coming, now), now
        return None, until

    def _unheld(self, coming: Expected, now: float) -> Trigger:
        if self._held_until is None:
            return Trigger.IDLE
        return Trigger.WAIT if coming.count or now >= self._held_until else Trigger.CALLERS

    def _due(self, pending: Pending) -> float:
        """When it must be answered."""
        objective = math.inf if self._objective is None else pending.request.arrived + self._objective
        return min(objective, deadline_of(pending))

    def _close(self, choice: Choice, trigger: Trigger, expired: tuple[Pending, ...]) -> Decision:
        self._held_until = None
        work = Work.of([each.cost for each in choice.batch])
        return Decision(
            expired=expired,
            too_late=choice.too_late,
            batch=choice.batch,
            trigger=trigger,
            predicted=self._predict(work) if self._time.known else None,
        )

    def _predict(self, work: Work) -> float:
        return self._time.predict(self._limits.as_computed(work))

    def _prudent(self, work: Work) -> float:
        """As `_predict`, on the safe side."""
        return self._predict(work) * (1 + PRUDENCE * self._time.spread)
