"""What load is expected, and what is wanted of the answers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

import msgspec

from rpcb_trio.simulation import Arrival, Load, LockStep, Mixed, OpenLoad, Simulation

THINK = 0.001
"""Seconds, in the mean, from a reply to the same caller's next request: the way to and fro, and decoding."""
MOST_ROUNDS = 10
"""In a mixed load lock step has at most so many times the open load's requests."""


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
            arrivals = _poisson(self.rate, costs, requests, dice)
            loads.append(OpenLoad(arrivals))
            until = arrivals[-1].at
        if self.callers is not None:
            most = requests if self.rate is None else MOST_ROUNDS * requests
            lock_step = LockStep(self.callers, lambda: dice.expovariate(1 / THINK), most)
            loads.append(_Costed(lock_step, costs, dice, until))
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
    """The most that latency may be, in seconds, in one figure of it; without either, as little as can be."""

    p99: float | None = None
    mean: float | None = None

    @property
    def limit(self) -> float:
        """In seconds; infinity where there is none."""
        return next((each for each in (self.p99, self.mean) if each is not None), math.inf)

    def figure(self, found: Simulation) -> float:
        """The latency that counts."""
        return found.mean_latency if self.p99 is None else found.percentile(99)

    def __str__(self) -> str:
        return f"{'mean' if self.p99 is None else 'p99'} latency of at most {1e3 * self.limit:.4g} ms"


class _Costed:
    """A load whose requests have costs, and that ends in time."""

    def __init__(self, load: Load, costs: Sequence[float], dice: random.Random, until: float) -> None:
        self._load = load
        self._costs = costs
        self._dice = dice
        self._until = until

    def first(self) -> list[Arrival]:
        return self._priced(self._load.first())

    def answered(self, arrival: Arrival, now: float) -> list[Arrival]:
        return self._priced(self._load.answered(arrival, now)) if now < self._until else []

    def _priced(self, arrivals: Iterable[Arrival]) -> list[Arrival]:
        return [msgspec.structs.replace(each, cost=self._dice.choice(self._costs)) for each in arrivals]


def _poisson(rate: float, costs: Sequence[float], requests: int, dice: random.Random) -> list[Arrival]:
    arrivals, at = [], 0.0
    for _ in range(requests):
        at += dice.expovariate(rate)
        arrivals.append(Arrival(at, cost=dice.choice(costs)))
    return arrivals
