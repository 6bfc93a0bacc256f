"""What settings would make of a load, by the worker's own policy in virtual time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import msgspec

from rpcb_trio._batching import AutoPolicy
from rpcb_trio._measure._demand import Demand, Objective
from rpcb_trio._measure._law import ServiceLaw
from rpcb_trio._pipeline import checked_prefetch
from rpcb_trio.simulation import Simulation, simulate

GROWING = 2.0
"""Requests pile up if the later half of them takes so many times as long as the earlier half (3 times under
overload) ..."""
BATCHES = 2
"""... and longer by so many full batches."""
STEPS = 64
"""In which the highest rate is sought."""
NEXT_TO_FULL = 0.95
"""The largest share of the capacity that is tried: nearer to it, queues grow for longer than a simulation
lasts."""
MOST_CALLERS = 10
"""One in so many of the simulated requests: with more callers, a simulation says too little of each."""


class Setting(msgspec.Struct, frozen=True):
    """The settings to choose from."""

    max_batch_size: int
    replicas: int

    @property
    def prefetch(self) -> int:
        """The least that keeps all replicas busy."""
        return checked_prefetch(None, self.max_batch_size, self.replicas)


class Predicted(msgspec.Struct, frozen=True):
    """What a setting would make of a load. Times are in seconds, infinite where it does not keep up."""

    setting: Setting
    mean: float
    p99: float
    busy_share: float
    keeps_up: bool
    meets: bool
    """The objective; without one, whether it keeps up."""
    capacity: float
    """Requests per second that it can compute at the very most."""
    highest: float | None = None
    """The highest load of the same kind (requests per second; callers, if there is no rate) that meets the
    objective; None without an objective."""


class Prospect:
    """Simulates settings on a device that was measured.

    Args:
        laws: what a batch takes, by how many replicas compute at once.
        costs: of the requests, to be drawn from.
        requests: how many each simulation has.
        tick: called after each simulation.
    """

    def __init__(
        self,
        laws: Mapping[int, ServiceLaw],
        costs: Sequence[float],
        requests: int,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._laws = laws
        self._costs = costs
        self._requests = requests
        self._tick = tick

    def capacity(self, setting: Setting) -> float:
        """Requests per second, if batches are full and nothing is padded."""
        law, cost = self._laws[setting.replicas], fmean(self._costs)
        sizes = range(1, setting.max_batch_size + 1)
        return setting.replicas * max(size / law.mean(size, cost) for size in sizes)

    def predict(self, setting: Setting, demand: Demand, objective: Objective) -> Predicted:
        """What the setting would make of the load."""
        capacity = self.capacity(setting)
        found = self._simulated(setting, demand) if (demand.rate or 0.0) < capacity else None
        if found is None:
            return Predicted(setting, math.inf, math.inf, 1.0, False, False, capacity)  # noqa: FBT003 - a row of figures
        mean, p99 = found.mean_latency, found.percentile(99)
        return Predicted(
            setting=setting,
            mean=mean,
            p99=p99,
            busy_share=min(1.0, found.busy_share),
            keeps_up=True,
            meets=objective.figure(p99=p99, mean=mean) <= objective.limit,
            capacity=capacity,
        )

    def highest(self, setting: Setting, demand: Demand, objective: Objective) -> float:
        """The highest load that still meets the objective; 0 where none does.

        It is sought over the rate, with the callers as they are; without a rate, over the callers.
        """
        if demand.rate is None:
            most = max(1, self._requests // MOST_CALLERS)
            loads = [Demand(callers=callers) for callers in range(1, most + 1)]
        else:
            step = NEXT_TO_FULL * self.capacity(setting) / STEPS
            loads = [Demand(number * step, demand.callers) for number in range(1, STEPS)]
        good = bisect_left(loads, True, key=lambda load: not self.predict(setting, load, objective).meets)  # noqa: FBT003 - what is sought
        return 0 if not good else loads[good - 1].rate or loads[good - 1].callers or 0

    def _simulated(self, setting: Setting, demand: Demand) -> Simulation | None:
        """What was found; None where requests pile up."""
        law = self._laws[setting.replicas]
        found = simulate(
            AutoPolicy(setting.max_batch_size),
            demand.load(self._costs, self._requests),
            law,
            executors=setting.replicas,
            noise=law.noise(seed=0),
        )
        self._tick()
        half = len(found.requests) // 2
        if demand.rate is None or not half:
            return found
        earlier, later = fmean(found.latencies[:half]), fmean(found.latencies[half:])
        full = law.mean(setting.max_batch_size, max(self._costs))
        return None if later > GROWING * earlier and later > earlier + BATCHES * full else found
