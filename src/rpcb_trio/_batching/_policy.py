"""The policy: pure decisions about the pending requests. No `await`, no clock of its own.

The batcher tells it of each arrival and each completed batch, and asks it to decide only while an executor is
idle (late binding: a batch that is sealed earlier waits a whole service time for nothing). It shows all that
is pending, oldest first, and acts on the decision:

    expired      these are refused: their deadline has passed
    too_late     these are refused as well: their deadline would pass before their batch was done
    batch        these are computed now
    hold_until   where none of them leaves: ask again when a request arrives, or at this time

All times are readings of `trio.current_time()`, in seconds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import msgspec

from rpcb_trio._messages import Batch, Pending, Request, Run, Trigger


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen to the pending requests; those that it does not name stay pending."""

    expired: tuple[Pending, ...] = ()
    too_late: tuple[Pending, ...] = ()
    batch: tuple[Pending, ...] = ()
    trigger: Trigger = Trigger.WAIT
    predicted: float | None = None
    """How many seconds the batch is expected to take; None where that is not known."""
    hold_until: float = math.inf


class Demand(msgspec.Struct, frozen=True):
    """What the next batch needs of the requests that are not here yet."""

    coming: int
    """How many are expected to come at about the time when they are asked for."""
    most: float
    """It has no use for more."""
    seconds: Callable[[int], float]
    """How long a batch of so many takes; 0.0 where that is not known."""


class Policy(ABC):
    """Decides which pending requests form the next batch; inherit from it, and write at least `decide`.

    One object serves one queue, from one session to the next: what it has learned stays. `Worker.change` puts
    another one in its place.
    """

    @property
    @abstractmethod
    def max_batch_size(self) -> int:
        """The most requests in one batch; the prefetch leaves room for them."""

    @property
    def ageing(self) -> float:
        """How many seconds of waiting one level of AMQP priority is worth among requests of one tenant."""
        return 1.0

    @abstractmethod
    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        """Decide for the `pending` requests, in order of arrival, at time `now`.

        Args:
            pending: what waits now; the batch and all that are refused come out of it. Where several tenants
                share the worker it is those whose turn it is, in order of their turns: as many as one batch
                may hold, and some more where costs or deadlines differ.
            now: a reading of `trio.current_time()`.
            final: no more requests will come. Then at least one request must leave, or the worker would
                never drain.
            others_idle: how many executors are idle besides the one that asks for a batch.
        """

    @property
    def settings(self) -> Mapping[str, object]:
        """What it was made with, by the names of its arguments; a change of policy is told by these."""
        return {"max_batch_size": self.max_batch_size}

    def succeed(self, earlier: Policy) -> None:  # noqa: B027 - not every policy learns
        """Take the place of an earlier policy of the same queue, and take over what that has learned.

        The earlier one is asked nothing more. What waits was told to that one alone.
        """

    def demand(self, ending: Sequence[Request], now: float) -> Demand | None:  # noqa: ARG002 - for those that learn
        """What the next batch needs; None, and the worker's prefetch is always as large as it may be.

        Args:
            ending: the requests of batches that are about to be computed.
            now: a reading of `trio.current_time()`.
        """
        return None

    def arrived(self, pending: Pending) -> None:  # noqa: B027 - not every policy learns
        """Learn of a request that is pending since `pending.ready`."""

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None:  # noqa: B027 - likewise
        """Learn that a batch is computed, and in which runs of `infer`.

        It comes in order with the arrivals: all that were pending by then are known. There are no runs where
        they were of a model that is not in use any more.
        """

    def forget(self) -> None:  # noqa: B027 - likewise
        """Forget what batches take and what the memory holds: another model computes from now on."""
