"""The policy of a size and a wait, both set by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile

from rpcb_trio._batching._limits import LimitedPolicy, Limits
from rpcb_trio._batching._policy import Decision
from rpcb_trio._batching._waiting import Turns, Waiting
from rpcb_trio._bounds import FINITE_OR_0
from rpcb_trio._messages import Batch, Pending, Run, Trigger


class FixedPolicy(LimitedPolicy):
    """Close a batch at `max_batch_size` requests, or when the oldest has waited `max_wait` seconds.

    The wait counts from the oldest request's arrival, so a request that waited for an executor has already
    served its wait; `max_wait=0` means that an idle executor starts at once. A suspect runs alone,
    and what is pending before it does not wait for more.

    Args:
        max_batch_size: the most requests in one batch.
        max_wait: seconds from the oldest request's arrival.
        max_batch_cost: the most padded cost of a batch, in the unit of `service.cost`.
        ageing: how many seconds of waiting one level of AMQP priority is worth.

    Raises:
        SettingError: one of them is senseless.
    """

    def __init__(
        self,
        max_batch_size: int = 32,
        max_wait: float = 0.0,
        *,
        max_batch_cost: float = math.inf,
        ageing: float = 1.0,
    ) -> None:
        FINITE_OR_0.check("max_wait", max_wait)
        self._limits = Limits(max_batch_size, max_batch_cost=max_batch_cost)
        self._ageing = ageing
        self.max_wait = max_wait

    @property
    def settings(self) -> Mapping[str, object]:
        """See `Policy.settings`."""
        return {**super().settings, "max_wait": self.max_wait, "ageing": self._ageing}

    @property
    def ageing(self) -> float:
        """As it was set."""
        return self._ageing

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None:  # noqa: ARG002 - any policy's
        """Learn what the device's memory can hold."""
        self._limits.learn(runs)

    def forget(self) -> None:
        """Forget what the device's memory can hold."""
        self._limits.forget()

    def decide(
        self,
        pending: Sequence[Pending],
        now: float,
        *,
        final: bool,
        others_idle: int = 0,  # noqa: ARG002 - any policy's
    ) -> Decision:
        """Decide by size, by the oldest request's wait, or because no more will come."""
        waiting = Waiting.of(pending)
        expired = waiting.expired(now)
        turns = Turns(waiting, expired, self._ageing)
        if not turns:
            return Decision(expired=expired)
        if turns.head.suspect:
            return Decision(expired=expired, batch=(turns.head,), trigger=Trigger.ALONE)
        batch, trigger = self._room(turns)
        closes = turns.oldest.request.arrived + self.max_wait
        if trigger is None and closes <= now:
            trigger = Trigger.WAIT
        if trigger is None and final:
            trigger = Trigger.FLUSH
        if trigger is None:
            return Decision(expired=expired, hold_until=min(closes, turns.earliest_deadline))
        return Decision(expired=expired, batch=batch, trigger=trigger)

    def _room(self, turns: Turns) -> tuple[tuple[Pending, ...], Trigger | None]:
        """As many as fit, in turn, and why no more could join them, if none could."""
        most = self.max_batch_size
        first = tuple(islice(turns, most + 1))
        together = tuple(takewhile(lambda each: not each.suspect, first))
        fitting = self._limits.fitting([each.cost for each in together])
        if fitting < min(len(together), most):
            return together[:fitting], Trigger.COST
        if len(together) < len(first):
            return together[:fitting], Trigger.WAIT
        return together[:fitting], Trigger.SIZE if len(together) >= most else None
