"""A batch: what it asks of the model, why it was closed, and what its runs took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from rpcb_trio._messages._requests import Pending


class Work(msgspec.Struct, frozen=True):
    """How much a batch asks of a model, in the unit of `service.cost`; without that hook an item is 1."""

    size: int
    """How many items."""
    longest: float
    """The largest cost among them."""
    total: float
    """The sum of their costs."""

    @property
    def padded(self) -> float:
        """The cost when each item is padded to the longest."""
        return self.size * self.longest

    @classmethod
    def of(cls, costs: Sequence[float]) -> Work:
        """The work of items with these costs; at least one."""
        return cls(len(costs), max(costs), math.fsum(costs))

    def joined_by(self, cost: float) -> Work:
        """The work with one more item."""
        return Work(self.size + 1, max(self.longest, cost), self.total + cost)


class Ending(StrEnum):
    """How one run of `infer` ended."""

    COMPUTED = "computed"
    FAILED = "failed"
    """It raised, or returned the wrong number of results."""
    OUT_OF_MEMORY = "out-of-memory"
    """The device's memory could not hold the batch."""


class Run(msgspec.Struct, frozen=True):
    """One run of `infer`. A batch has several when it failed as a whole and was split."""

    work: Work
    seconds: float
    ending: Ending


class Trigger(StrEnum):
    """Why a batch was closed."""

    SIZE = "size"
    """It was full."""
    COST = "cost"
    """No further request fits: `max_batch_cost`, the device's memory, or padding that would cost more than
    it gains."""
    WAIT = "wait"
    """Its wait was over, or no request could join it any more."""
    IDLE = "idle"
    """An executor was idle, and waiting for more would have cost more than it gained."""
    CALLERS = "callers"
    """The callers that were just answered are back with their next requests."""
    DEADLINE = "deadline"
    """A deadline would have been missed by waiting for more."""
    FLUSH = "flush"
    """No more requests come: the worker drains."""
    ALONE = "alone"
    """It is one redelivered request that may have killed the worker that held it before."""


class Batch(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Requests that the model computes at once."""

    id: int
    members: tuple[Pending, ...]
    trigger: Trigger
    closed: float
    """When it was closed, as `trio.current_time()`."""
    predicted: float | None = None
    """Seconds that its policy expects it to take; None where the policy does not learn."""
    version: str | None = None
    """Of the model that computes it; None where that has none."""

    @property
    def size(self) -> int:
        """How many requests it holds."""
        return len(self.members)

    @property
    def first_of(self) -> int:
        """Of how many requests it is the first batch: of all, but those of which it has a later piece."""
        return sum(member.since is None for member in self.members)

    @property
    def waits(self) -> tuple[float, ...]:
        """How long each request waited from its arrival until the batch was closed, in seconds."""
        return tuple(
            self.closed - (member.request.arrived if member.since is None else member.since)
            for member in self.members
        )

    @property
    def work(self) -> Work:
        """How much it asks of the model."""
        return Work.of([member.cost for member in self.members])
