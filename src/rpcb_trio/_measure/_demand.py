"""What load is expected, and how quick replies must be."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import islice

import msgspec

from rpcb_trio.simulation import Arrival, Load, LockStep, Mixed, OpenLoad, poisson

THINK = 0.001
"""Seconds, in the mean, from a reply to its caller's next request: the way there and back, and decode."""
MOST_ROUNDS = 10
"""In a mixed load callers in lock step send at most so many times the open load's requests."""


class Demand(msgspec.Struct, frozen=True):
    """Requests per second at random times (Poisson), or callers in lock step, or both."""

    rate: float | None = None
    callers: int | None = None

    def load(self, costs: Sequence[float], requests: int, seed: int = 0) -> Load:
        """About so many requests, with costs drawn from `costs`; the same for the same seed."""
        dice = random.Random(seed)  # noqa: S311 - the same in every run
        loads: list[Load] = []
        until = math.inf
        if self.rate is not None:
            times = islice(poisson(self.rate, dice), requests)
            arrivals = [Arrival(at, cost=dice.choice(costs)) for at in times]
            loads.append(OpenLoad(arrivals))
            until = arrivals[-1].at
        if self.callers is not None:
            loads.append(
                LockStep(
                    self.callers,
                    lambda: dice.expovariate(1 / THINK),
                    requests if self.rate is None else MOST_ROUNDS * requests,
                    cost=lambda: dice.choice(costs),
                    until=until,
                )
            )
        return Mixed(loads)

    @property
    def unit(self) -> str:
        """Of the load, where it is varied."""
        return "callers" if self.rate is None else "requests/s"

    def __str__(self) -> str:
        parts = [] if self.rate is None else [f"{self.rate:.4g} requests/s"]
        parts += [] if self.callers is None else [f"{self.callers} callers in lock step"]
        return " and ".join(parts)


class Objective(msgspec.Struct, frozen=True):
    """The longest latency that is good enough, in seconds, by one figure; or none, for the shortest."""

    p99: float | None = None
    mean: float | None = None

    @property
    def limit(self) -> float:
        """In seconds; infinity where there is none."""
        return next((each for each in (self.p99, self.mean) if each is not None), math.inf)

    def figure(self, *, p99: float, mean: float) -> float:
        """The latency that counts."""
        return mean if self.p99 is None else p99

    def __str__(self) -> str:
        return f"{'mean' if self.p99 is None else 'p99'} latency of at most {1e3 * self.limit:.4g} ms"
