"""Requests that wait for a batch, and a policy told of whatever may happen to them.

`Played` stands in for the batcher, its channels and its clock: it shows a policy what the batcher would, when
the batcher would, and keeps every decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Literal, NamedTuple, TypeAlias

from hypothesis import strategies as st

from rpcb_trio import Request
from rpcb_trio._batching._waiting import Turns, Waiting
from rpcb_trio.batching import Batch, Decision, Ending, Pending, Policy, Run, Shares, Work

_tags = count(1)


def pending(
    arrived: float = 0.0,
    *,
    deadline: float | None = None,
    suspect: bool = False,
    cost: float = 1.0,
    priority: int = 0,
    caller: str | None = None,
    decoding: float = 0.0,
) -> Pending:
    request = Request(
        body=b"",
        arrived=arrived,
        deadline=deadline,
        priority=priority,
        reply_to=caller,
        tag=next(_tags),
    )
    return Pending(request, None, cost, suspect, arrived + decoding)


def turns(waiting: Iterable[Pending], ageing: float = 0.0) -> Turns:
    return Turns(Waiting(waiting), (), ageing)


class Come(NamedTuple):
    """A request arrives."""

    cost: float = 1.0
    priority: int = 0
    lives: float | None = None
    caller: str | None = None
    suspect: bool = False
    decoding: float = 0.0


class Pass(NamedTuple):
    """Time goes on."""

    seconds: float


class Done(NamedTuple):
    """The batch that was closed first is done, if one is running."""

    by: Literal["computed", "failed", "out-of-memory"] = "computed"


Event: TypeAlias = Come | Pass | Done


costs = st.sampled_from([1.0, 1.0, 1.0, 0.0, 0.5, 2.0, 7.0])
comes = st.builds(
    Come,
    costs,
    st.sampled_from([0, 0, 0, 1, 9]),
    st.sampled_from([None, None, 0.0, 0.5, 1.0, 3.0, 40.0]),
    st.sampled_from([None, "a", "b", "c", "d"]),
    st.sampled_from([False] * 9 + [True]),
    st.sampled_from([0.0, 0.0, 0.25]),
)
passes = st.builds(Pass, st.sampled_from([0.001, 0.125, 0.5, 1.0, 5.0]))
dones = st.builds(Done, st.sampled_from(["computed"] * 6 + ["failed", "out-of-memory"]))
bursts = st.lists(comes, min_size=2, max_size=8)
rounds = st.tuples(passes, dones, passes).map(list[Event])
singles = st.lists(st.one_of(comes, passes, dones), min_size=1, max_size=3).map(list[Event])
histories = st.lists(st.one_of(singles, bursts.map(list[Event]), rounds), max_size=12).map(
    lambda parts: [event for part in parts for event in part]
)
"""Single events, bursts of arrivals, and rounds of computing, in any order."""


class Shown(NamedTuple):
    """What a policy was shown, and what it decided."""

    waiting: tuple[Pending, ...]
    now: float
    final: bool
    decision: Decision

    @property
    def left(self) -> list[Pending]:
        gone = leaving(self.decision)
        return [each for each in self.waiting if each not in gone]


def leaving(decision: Decision) -> list[Pending]:
    return [*decision.batch, *decision.expired, *decision.too_late]


class Played:
    """A policy, and all that was shown to it. Time begins at `now`.

    It is shown what the batcher would show it, or something made of that.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        executors: int = 1,
        now: float = 0.0,
        show: Callable[[Waiting], Sequence[Pending]] = lambda waiting: waiting,
        shares: Shares | None = None,
    ) -> None:
        self.policy = policy
        self.now = now
        self.came: list[Pending] = []
        self.waiting = Waiting((), shares)
        self._show = show
        self.running: list[Batch] = []
        self.runs: list[tuple[int, Run]] = []
        """Each run, with how many decisions came before it."""
        self.shown: list[Shown] = []
        self._idle = executors
        self._hold_until = math.inf

    def play(self, events: Iterable[Event]) -> Played:
        """Let all of it happen, then let no more come, until everything is done."""
        for event in events:
            match event:
                case Come():
                    self._come(event)
                case Pass(seconds):
                    self._pass(seconds)
                case Done(by):
                    self._complete(by)
        self._serve(final=True)
        while self.running:
            self._complete("computed")
            self._serve(final=True)
        return self

    @property
    def batches(self) -> list[Shown]:
        return [each for each in self.shown if each.decision.batch]

    def _come(self, event: Come) -> None:
        caller = event.caller
        deadline = None if event.lives is None else self.now + event.lives
        came = pending(
            self.now - event.decoding,
            deadline=deadline,
            suspect=event.suspect,
            cost=event.cost,
            priority=event.priority,
            caller=caller,
            decoding=event.decoding,
        )
        self.came.append(came)
        self.waiting.join([came])
        self.policy.arrived(came)
        self._serve()

    def _pass(self, seconds: float) -> None:
        end = self.now + seconds
        while self._idle and self._hold_until <= end:
            self.now = self._hold_until
            self._serve()
        self.now = end

    def _complete(self, by: Literal["computed", "failed", "out-of-memory"]) -> None:
        if not self.running:
            return
        batch = self.running.pop(0)
        runs = list(_runs(batch, by, self.now - batch.closed))
        self.runs += [(len(self.shown), run) for run in runs]
        self.policy.completed(batch, runs, self.now)
        self._idle += 1
        self._serve()

    def _serve(self, *, final: bool = False) -> None:
        while self._idle:
            waiting = self.waiting.shown(self.now, self.policy)
            shown = self._show(waiting) if isinstance(waiting, Waiting) else waiting
            decision = self.policy.decide(shown, self.now, final=final, others_idle=self._idle - 1)
            self.waiting.charge(decision.batch)
            self.shown.append(Shown(tuple(self.waiting), self.now, final, decision))
            self.waiting.leave(leaving(decision))
            self._hold_until = decision.hold_until
            if decision.batch:
                self._start(decision)
            if not leaving(decision):
                return
            self._hold_until = math.inf

    def _start(self, decision: Decision) -> None:
        self._idle -= 1
        self.running.append(
            Batch(id=len(self.shown), members=decision.batch, trigger=decision.trigger, closed=self.now)
        )


def _runs(batch: Batch, by: Literal["computed", "failed", "out-of-memory"], seconds: float) -> Iterable[Run]:
    costs = [member.cost for member in batch.members]
    if by == "computed":
        yield Run(batch.work, seconds, Ending.COMPUTED)
        return
    yield Run(batch.work, seconds / 2, Ending.FAILED if by == "failed" else Ending.OUT_OF_MEMORY)
    for half in _halves(costs):
        yield Run(Work.of(half), seconds / 4, Ending.COMPUTED)


def _halves(costs: Sequence[float]) -> Iterable[Sequence[float]]:
    middle = len(costs) // 2
    return [half for half in (costs[:middle], costs[middle:]) if half and len(costs) > 1]
