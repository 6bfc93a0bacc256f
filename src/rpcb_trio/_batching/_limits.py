"""How large a batch may be: as it was set, and as the device's memory has shown."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from rpcb_trio._batching._policy import Policy
from rpcb_trio._bounds import COUNT, POSITIVE
from rpcb_trio._messages import Ending, Run, Work
from rpcb_trio.errors import SettingError

AT_THE_CAP = 0.9
"""A batch above this share of the cap has shown that the cap holds."""
PROOFS = 16
"""So many such batches, and the cap is raised ..."""
RAISE = 1.1
"""... by this factor."""


class Limits:
    """Bounds of a batch. One request alone is always allowed, or it would never be answered.

    Args:
        max_batch_size: the most requests.
        max_batch_cost: the most padded cost: their number times the largest `service.cost` among them.
        batch_sizes: the sizes the model is compiled for (CUDA graphs), if not all; a batch between two of
            them costs as much as the larger. The service pads it.

    Raises:
        SettingError: one of them is senseless.
    """

    def __init__(
        self,
        max_batch_size: int = 32,
        *,
        max_batch_cost: float = math.inf,
        batch_sizes: Sequence[int] = (),
    ) -> None:
        COUNT.check("max_batch_size", max_batch_size)
        POSITIVE.check("max_batch_cost", max_batch_cost)
        if batch_sizes and (min(batch_sizes) < 1 or max(batch_sizes) < max_batch_size):
            raise SettingError(
                f"batch_sizes are {sorted(batch_sizes)}: they must be 1 or more, and the largest must be at "
                f"least max_batch_size ({max_batch_size})"
            )
        self.max_batch_size = max_batch_size
        self._max_batch_cost = max_batch_cost
        self._sizes = sorted(set(batch_sizes))
        self._cap = math.inf
        self._proofs = 0

    @property
    def max_batch_cost(self) -> float:
        """As it was set."""
        return self._max_batch_cost

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """As they were set, in order."""
        return tuple(self._sizes)

    def succeed(self, earlier: Limits) -> None:
        """Take over what the device's memory has shown."""
        self._cap, self._proofs = earlier._cap, earlier._proofs

    @property
    def max_padded(self) -> float:
        """The most padded cost of more than one request: as it was set, or what the memory can hold."""
        return min(self._max_batch_cost, self._cap)

    @property
    def has_steps(self) -> bool:
        """Whether one more request may cost much, and the next ones nothing, as `batch_sizes` are set."""
        return bool(self._sizes)

    def allow(self, work: Work) -> bool:
        """Whether a batch of such work may be closed."""
        return work.size <= self.max_batch_size and (work.size == 1 or work.padded <= self.max_padded)

    def fitting(self, costs: Sequence[float]) -> int:
        """How many of the first of these costs may be one batch."""
        most, longest = self.max_padded, 0.0
        for size, cost in enumerate(costs[: self.max_batch_size], start=1):
            longest = max(longest, cost)
            if size > 1 and size * longest > most:
                return size - 1
        return min(len(costs), self.max_batch_size)

    def as_computed(self, work: Work) -> Work:
        """The work once the service has padded it to the next of `batch_sizes`."""
        if not self._sizes or work.size > self._sizes[-1]:  # a batch that an earlier policy has closed
            return work
        return Work(self._sizes[bisect_left(self._sizes, work.size)], work.longest, work.total)

    def forget(self) -> None:
        """Forget what the memory has shown."""
        self._cap, self._proofs = math.inf, 0

    def learn(self, runs: Sequence[Run]) -> None:
        """Halve the cap where the device's memory could not hold a batch; raise it slowly where it holds.

        One request that is too large by itself says nothing of batches, and a cap of 0 could never be raised.
        """
        for run in runs:
            if run.ending is Ending.OUT_OF_MEMORY and run.work.size > 1 and run.work.padded > 0:
                self._cap = min(self._cap, run.work.padded / 2)
                self._proofs = 0
            elif run.ending is Ending.COMPUTED and run.work.padded >= AT_THE_CAP * self._cap:
                self._proofs += 1
                if self._proofs == PROOFS:
                    self._cap *= RAISE
                    self._proofs = 0


class LimitedPolicy(Policy):
    """A policy that has `Limits`, and hands on to its successor what the device's memory has shown."""

    _limits: Limits

    @property
    def max_batch_size(self) -> int:
        """As it was set."""
        return self._limits.max_batch_size

    @property
    def settings(self) -> Mapping[str, object]:
        """See `Policy.settings`."""
        return {**super().settings, "max_batch_cost": self._limits.max_batch_cost}

    def succeed(self, earlier: Policy) -> None:
        """See `Policy.succeed`."""
        if isinstance(earlier, LimitedPolicy):
            self._limits.succeed(earlier._limits)  # noqa: SLF001 - of its own class
