"""What is simulated: each cell is a load on a device, with a figure for each policy and a bound."""

from __future__ import annotations

import math
import statistics
from random import Random
from typing import ClassVar, Literal

import msgspec

from benches.policy.bounds import least_mean_latency, lock_step_latency, most_on_time
from benches.policy.chain import greedy_mean_latency
from benches.policy.loads import BURST, MIDDLE, Backlog, Device, bursty, exponential, first_of_poisson
from benches.policy.peers import GREEDY, Makers, policies
from rpcb_trio import FixedPolicy
from rpcb_trio.batching import Policy
from rpcb_trio.simulation import Arrival, LockStep, Mixed, OpenLoad, Simulation, padded, simulate

COLD = 30
"""Batches in which a policy may learn: their callers' latencies in lock step do not count."""
WARM_UP = 1000
"""Requests until a queue that was empty at first is as it stays."""


class Cell(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A load on a device. Its figures depend on the cell and the seed alone."""

    is_less_better: ClassVar[bool] = True
    device: Device = MIDDLE
    requests: int = 1000

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def rivals(self) -> Makers:
        return policies(self.device)

    def bound(self, seed: int) -> float:
        """What a policy's figure is divided by."""
        raise NotImplementedError

    def figure(self, policy: Policy, seed: int) -> float:
        """What a policy attains: seconds of mean latency, if nothing else is said."""
        raise NotImplementedError

    def chance(self, seed: int) -> Random:
        return Random(f"{self.device.name} {self.name} {seed}")  # noqa: S311 - no secret


class Open(Cell, frozen=True, kw_only=True, tag="open"):
    """Independent callers; against the least mean latency of a clairvoyant."""

    shape: Literal["Poisson", "bursty"]
    load: float

    @property
    def name(self) -> str:
        return f"{self.shape} {self.load:g}"

    def arrivals(self, seed: int) -> list[float]:
        rate = self.load * self.device.capacity
        if self.shape == "Poisson":
            return first_of_poisson(self.chance(seed), rate, self.requests)
        return bursty(self.chance(seed), rate, self.requests, BURST * self.device.seconds(1))

    def bound(self, seed: int) -> float:
        return least_mean_latency(self.arrivals(seed), self.device.seconds, self.device.max_batch_size)

    def figure(self, policy: Policy, seed: int) -> float:
        return simulate(policy, OpenLoad(map(Arrival, self.arrivals(seed))), self.device.law).mean_latency


class Closed(Cell, frozen=True, kw_only=True, tag="lock step"):
    """Callers in lock step, with exponential think times; against T(callers)."""

    callers: int
    think_ms: float

    @property
    def name(self) -> str:
        return f"{self.callers} caller{'s' if self.callers > 1 else ''}, {self.think_ms:g} ms"

    def bound(self, seed: int) -> float:  # noqa: ARG002 - any cell's
        """What callers without think time would get; with think time it can be a little less."""
        return lock_step_latency(self.callers, self.device.seconds, self.device.max_batch_size)

    def figure(self, policy: Policy, seed: int) -> float:
        """Once the policy has seen `COLD` batches."""
        think = exponential(self.chance(seed), self.think_ms / 1e3)
        found = simulate(policy, LockStep(self.callers, think, self.requests), self.device.law)
        return mean_latency_after(COLD, found)


class Overload(Cell, frozen=True, kw_only=True, tag="overload"):
    """More Poisson arrivals than can be served; against the most that a clairvoyant answers in time."""

    is_less_better: ClassVar[bool] = False
    load: float
    patience: float
    """After how many times the largest batch's seconds a request expires."""

    @property
    def name(self) -> str:
        return f"{self.load:g}, patience {self.patience:g}"

    @property
    def rivals(self) -> Makers:
        """BentoML's rule is told the callers' patience, as it wants to be."""
        return policies(self.device, self.patience * self.device.longest)

    def arrivals(self, seed: int) -> list[Arrival]:
        times = first_of_poisson(self.chance(seed), self.load * self.device.capacity, self.requests)
        return [Arrival(at, deadline=at + self.patience * self.device.longest) for at in times]

    def bound(self, seed: int) -> float:
        """The share of the requests, exact for these very arrivals."""
        arrivals = self.arrivals(seed)
        deadlines = [math.inf if each.deadline is None else each.deadline for each in arrivals]
        most = most_on_time(
            [each.at for each in arrivals], deadlines, self.device.seconds, self.device.max_batch_size
        )
        return most / len(arrivals)

    def figure(self, policy: Policy, seed: int) -> float:
        """The share of the requests that are answered by their deadlines."""
        return simulate(policy, OpenLoad(self.arrivals(seed)), self.device.law).on_time_share


class Both(Cell, frozen=True, kw_only=True, tag="mixed"):
    """Poisson arrivals, and a few callers in lock step; against greedy, for no exact bound is known."""

    load: float
    callers: int
    think_ms: float

    @property
    def name(self) -> str:
        """The open load, and the callers."""
        return f"Poisson {self.load:g} and {self.callers} callers, {self.think_ms:g} ms"

    def bound(self, seed: int) -> float:
        return self.figure(FixedPolicy(self.device.max_batch_size), seed)

    def figure(self, policy: Policy, seed: int) -> float:
        chance = self.chance(seed)
        others = OpenLoad(
            map(Arrival, first_of_poisson(chance, self.load * self.device.capacity, self.requests))
        )
        lock_step = LockStep(self.callers, exponential(chance, self.think_ms / 1e3), self.requests)
        return simulate(policy, Mixed([others, lock_step]), self.device.law).mean_latency


class Padded(Cell, frozen=True, kw_only=True, tag="padded"):
    """A backlog of recordings of log-normal length, padded to the longest in the batch; against greedy.

    A batch takes `fixed_ms` and `per_item_ms` for each padded second; half of the recordings are shorter
    than 4 s.
    """

    is_less_better: ClassVar[bool] = False
    MEDIAN: ClassVar[float] = 4.0
    sigma: float
    """Of the logarithm of the length."""
    depth: int
    """How many are pending at any time."""

    @property
    def name(self) -> str:
        """How different the lengths are, and how many there are to choose from."""
        return f"sigma {self.sigma:g}, {self.depth} pending"

    def bound(self, seed: int) -> float:
        """The throughput of first in, first out in batches by count."""
        return self.figure(FixedPolicy(self.device.max_batch_size), seed)

    def figure(self, policy: Policy, seed: int) -> float:
        chance = self.chance(seed)
        costs = [chance.lognormvariate(math.log(self.MEDIAN), self.sigma) for _ in range(self.requests)]
        law = padded(self.device.fixed_ms / 1e3, self.device.per_item_ms / 1e3)
        return simulate(policy, Backlog(self.depth, costs), law).throughput


class Oracle(Cell, frozen=True, kw_only=True, tag="oracle"):
    """Whether the simulator itself is right: greedy, against its exact Markov chain."""

    rate: float

    @property
    def name(self) -> str:
        return f"{self.rate:g}/s"

    @property
    def rivals(self) -> Makers:
        return {GREEDY: policies(self.device)[GREEDY]}

    def bound(self, seed: int) -> float:  # noqa: ARG002 - any cell's
        """The mean latency of the stationary chain."""
        return greedy_mean_latency(self.rate, self.device.seconds, self.device.max_batch_size)

    def figure(self, policy: Policy, seed: int) -> float:
        """Without the first requests, which find an empty queue."""
        load = OpenLoad(map(Arrival, first_of_poisson(self.chance(seed), self.rate, WARM_UP + self.requests)))
        return statistics.fmean(simulate(policy, load, self.device.law).latencies[WARM_UP:])


def mean_latency_after(batches: int, found: Simulation) -> float:
    """The mean latency of all that were in later batches; in seconds."""
    return statistics.fmean(
        each.latency for each in found.requests if each.batch is not None and each.batch >= batches
    )
