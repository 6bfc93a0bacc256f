"""The policies that are compared."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from benches.policy.loads import Device
from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio.batching import Batch, Decision, Pending, Policy, Run, Trigger

AUTO, GREEDY, CORK = "auto", "greedy", "BentoML"


class Released(msgspec.Struct, frozen=True):
    """What the rule remembers of a batch."""

    size: int
    seconds: float
    waits: float
    """Of all its requests together."""


class CorkPolicy(Policy):
    """BentoML's adaptive batching ("cork"), written from what its authors have published about it.

    Pending requests are held until the first one's wait and its batch's estimated time come to the latency
    goal, or until it is not worth waiting for the next request ("Understanding BentoML adaptive micro
    batching", guide of version 0.13). It is worth it while one more tick and one more request's computing,
    with what has passed since the newest request, would cost all n pending ones together less than the
    average wait of those that were served, decayed by 0.95 (pull requests 3630 and 3646 of bentoml/BentoML).
    Time by batch size is a regression over the last 50 batches that begins with the third, neither of its
    coefficients below 0. Ticks are 1 ms; here they cost what they cost there but nobody polls, and the
    regression is renewed after every batch rather than every 5 s, both in its favour.
    """

    KEPT = 50
    SKIPPED = 2
    DECAY = 0.95
    TICK = 0.001

    def __init__(self, max_batch_size: int, max_latency: float = 60.0) -> None:
        self._max_batch_size = max_batch_size
        self._max_latency = max_latency
        self._completed = 0
        self._kept: deque[Released] = deque(maxlen=self.KEPT)
        self._fixed = self._per_item = self._wait = 0.0

    @property
    def max_batch_size(self) -> int:
        return self._max_batch_size

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None:  # noqa: ARG002 - any policy's
        """Renew the regression and the average wait."""
        self._completed += 1
        if self._completed <= self.SKIPPED:
            return
        self._kept.append(Released(batch.size, sum(run.seconds for run in runs), sum(batch.waits)))
        self._wait = sum(each.waits for each in self._kept) / sum(each.size for each in self._kept)
        sizes, times = [each.size for each in self._kept], [each.seconds for each in self._kept]
        self._fixed, self._per_item = statistics.fmean(times), 0.0
        if len(set(sizes)) > 1:
            slope, intercept = statistics.linear_regression(sizes, times)
            self._fixed, self._per_item = max(intercept, 0.0), max(slope, 0.0)

    def decide(
        self,
        pending: Sequence[Pending],
        now: float,
        *,
        final: bool,
        others_idle: int = 0,  # noqa: ARG002 - any policy's
    ) -> Decision:
        expired = tuple(each for each in pending if _deadline(each) <= now)
        waiting = [each for each in pending if _deadline(each) > now]
        if not waiting:
            return Decision(expired=expired)
        batch = tuple(waiting[: self._max_batch_size])
        until = self._worth_waiting_until(waiting)
        if len(waiting) >= self._max_batch_size or until <= now or final:
            full = len(batch) == self._max_batch_size
            return Decision(expired=expired, batch=batch, trigger=Trigger.SIZE if full else Trigger.WAIT)
        return Decision(expired=expired, hold_until=min(until, *map(_deadline, waiting)))

    def _worth_waiting_until(self, waiting: Sequence[Pending]) -> float:
        estimated = self._fixed + self._per_item * len(waiting)
        at_most = waiting[0].request.arrived + self._max_latency - estimated
        gain = self._wait * self.DECAY / len(waiting) - self.TICK - self._per_item
        return min(at_most, waiting[-1].request.arrived + gain)


def _deadline(pending: Pending) -> float:
    deadline = pending.request.deadline
    return math.inf if deadline is None else deadline


Makers: TypeAlias = Mapping[str, Callable[[], Policy]]


def policies(device: Device, max_latency: float = 60.0) -> Makers:
    """Makers of all that are compared, by name.

    `max_latency` is for BentoML's rule alone: its authors advise to set it to the callers' patience.
    """
    size = device.max_batch_size
    makers: dict[str, Callable[[], Policy]] = {
        AUTO: partial(AutoPolicy, size),
        GREEDY: partial(FixedPolicy, size),
        CORK: partial(CorkPolicy, size, max_latency),
    }
    for wait in device.waits_ms:
        makers[f"fixed {wait:g} ms"] = partial(FixedPolicy, size, wait / 1e3)
    return makers


def is_fixed(name: str) -> bool:
    """Whether it is a size and a wait set by hand; greedy is one with a wait of 0."""
    return name == GREEDY or name.startswith("fixed")
