"""What the default policy gains by each mechanism of its estimator of service times.

Each column is the policy without one mechanism, or with the plain line of `benches.policy.line` in the
estimator's place; each row is a load on a device that is noisy, changes its speed, starts cold or is no line.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random
from typing import Final, Literal, TypeAlias
from unittest.mock import patch

import trio

from benches.policy.cells import Cell
from benches.policy.line import Line
from benches.policy.loads import Backlog, exponential, first_of_poisson
from benches.policy.peers import Makers
from benches.policy.summary import Found
from benches.report import print_table
from rpcb_trio import AutoPolicy
from rpcb_trio.batching import Batch, Decision, Pending, Policy, Run, Work
from rpcb_trio.simulation import Arrival, Law, LockStep, OpenLoad, simulate

SIZE: Final = 32
CALLERS: Final = 10
RATES: Final = {"Poisson": 0.7, "overload": 1.2, "deadlines": 0.9, "objective": 0.4}
"""Of what the device can do in full batches."""
PATIENCES: Final = {"overload": (2.0, 2.0), "deadlines": (1.2, 4.0)}
"""When a request expires, in times of the largest batch's seconds; uniform."""
OBJECTIVE: Final = 3.0
"""The latency objective, likewise."""
SHOWN: Final = 0.5
"""Per cent; less is left out."""
DEPTH: Final = 128
"""How many recordings wait at any time."""

LAWS: Final[Mapping[str, Law]] = {
    "20+b": lambda work: 0.020 + 0.001 * work.size,
    "stairs of 8": lambda work: 0.005 + 0.020 * math.ceil(work.size / 8),
    "powers of 2": lambda work: 0.010 + 0.002 * 2 ** (work.size - 1).bit_length(),
    "20+b^1.4": lambda work: 0.020 + 0.001 * work.size**1.4,
    "20+10b padded": lambda work: 0.020 + 0.010 * work.padded,
    "20+10b summed": lambda work: 0.020 + 0.010 * work.total,
    "stairs of 128 padded": lambda work: 0.020 + 1.28 * math.ceil(work.padded / 128),
}
"""Seconds; the numbers in the names are milliseconds."""

Weather: TypeAlias = Literal[
    "steady", "noisy", "outliers", "fast ones", "by turns", "3x faster", "2x slower", "cold", "cold sizes"
]
Load: TypeAlias = Literal["Poisson", "lock step", "overload", "deadlines", "objective", "padded"]


WEATHERS: Final[tuple[Weather, ...]] = (
    "steady",
    "noisy",
    "outliers",
    "fast ones",
    "by turns",
    "3x faster",
    "2x slower",
    "cold",
    "cold sizes",
)
RARE: Final = 0.05
"""The share of the batches that are outliers."""
FIRST: Final = 3
"""So many batches of a cold device are slow."""
SLOWNESS: Final = {"outliers": 1.45, "by turns": 1.5, "3x faster": 2.0, "2x slower": 1.5}
"""By how much a device is slower than its law, on the mean."""

Changes: TypeAlias = Mapping[str, object]
"""New values, by module and name in the room of the policy."""


def as_it_was(residual: float, _: float) -> float:
    """Clip nothing."""
    return residual


def straight(*_: object) -> float:
    """Bend nothing."""
    return 0.0


def as_at_first(*_: object) -> float:
    """Bend by how much a device bends that nothing is known of."""
    return 0.01


CHANGES: Final[Mapping[str, Changes]] = {
    "a line": {"_service_time.Curve": Line},
    "no bends": {"_curve._misfit": straight},
    "even bends": {"_curve._misfit": as_at_first},
    "4x fewer nodes": {"_curve.PER_OCTAVE": 1},
    "no clip": {"_curve._clipped": as_it_was},
    "no level": {"_curve.LEVEL_DISCOUNT": 0.0},
    "no jumps": {"_curve.RUN": 10**6},
    "no slow first": {"_curve.SLOW": math.inf},
    "no cold start": {"_curve.FAST": math.inf},
}


class Device:
    """A law with noise, and with what may happen to a device; for one simulation of about `span` seconds."""

    def __init__(self, law: Law, weather: Weather, chance: Random, span: float) -> None:
        self._law = law
        self._weather = weather
        self._chance = chance
        self._span = span
        self._sizes: list[int] = []

    def __call__(self, work: Work) -> float:
        """Seconds that a batch takes which starts now."""
        spread = 0.3 if self._weather == "noisy" else 0.1
        seconds = self._law(work) * self._chance.lognormvariate(0.0, spread) * self._factor(work)
        self._sizes.append(work.size)
        return seconds

    def _factor(self, work: Work) -> float:
        passed = trio.current_time() / self._span
        factors: dict[Weather, float] = {
            "outliers": 10.0 if self._chance.random() < RARE else 1.0,
            "fast ones": 0.1 if self._chance.random() < RARE else 1.0,
            "by turns": 1.0 + int(4 * passed) % 2,
            "3x faster": 3.0 if passed < 1 / 3 else 1.0,
            "2x slower": 1.0 + min(1.0, passed),
            "cold": 20.0 if len(self._sizes) < FIRST else 1.0,
            "cold sizes": 1.0 if work.size in self._sizes else 4.0,
        }
        return factors.get(self._weather, 1.0)


class Learning(Cell, frozen=True, kw_only=True, tag="learning"):
    """A load on a device that is hard to learn; against the default policy as it is. Less is better."""

    load: Load
    law: str = "20+b"
    weather: Weather = "steady"

    @property
    def name(self) -> str:
        """Load, law and weather."""
        return f"{self.load}, {self.law}, {self.weather}"

    @property
    def rivals(self) -> Makers:
        """The policy without one mechanism each."""
        return {name: partial(Changed, changes, self.objective) for name, changes in CHANGES.items()}

    @property
    def longest(self) -> float:
        """Seconds of the largest batch."""
        return LAWS[self.law](Work(SIZE, 1.0, SIZE))

    @property
    def objective(self) -> float | None:
        """The latency objective, in seconds."""
        return OBJECTIVE * self.longest if self.load == "objective" else None

    def bound(self, seed: int) -> float:
        """What the policy attains as it is."""
        return self.figure(Changed({}, self.objective), seed)

    def figure(self, policy: Policy, seed: int) -> float:
        """What one request costs: seconds of latency or of the device, or the inverse of a share in time."""
        chance = self.chance(seed)
        if self.load == "padded":
            costs = [chance.lognormvariate(math.log(4.0), 0.8) for _ in range(2 * self.requests)]
            return 1 / simulate(policy, Backlog(DEPTH, costs), self._law(chance, 60.0)).throughput
        if self.load == "lock step":
            span = self.requests / CALLERS * self.longest / 2
            load = LockStep(CALLERS, exponential(chance, 0.001), self.requests)
            return simulate(policy, load, self._law(chance, span)).mean_latency
        rate = RATES[self.load] * SIZE / self.longest / SLOWNESS.get(self.weather, 1.0)
        times = first_of_poisson(chance, rate, self.requests)
        least, most = PATIENCES.get(self.load, (math.inf, math.inf))
        arrivals = [Arrival(at, deadline=at + chance.uniform(least, most) * self.longest) for at in times]
        if self.load in {"Poisson", "objective"}:
            arrivals = [Arrival(at) for at in times]
        found = simulate(policy, OpenLoad(arrivals), self._law(chance, times[-1]))
        if self.load == "Poisson":
            return found.mean_latency
        if self.objective is not None:
            in_time = sum(each <= self.objective for each in found.latencies)
            return math.fsum(each.seconds for each in found.batches) / max(in_time, 1)
        return 1 / max(found.on_time_share, 1 / self.requests)

    def _law(self, chance: Random, span: float) -> Device:
        return Device(LAWS[self.law], self.weather, chance, span)


class Changed(Policy):
    """The default policy, with other values in the modules that it learns with."""

    def __init__(self, changes: Changes, objective: float | None = None) -> None:
        self._changes = changes
        with self._changed():
            self._policy = AutoPolicy(SIZE, latency_objective=objective)

    @property
    def max_batch_size(self) -> int:
        """Of the policy."""
        return self._policy.max_batch_size

    def arrived(self, pending: Pending) -> None:
        """Tell the policy."""
        self._policy.arrived(pending)

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None:
        """Let the policy learn."""
        with self._changed():
            self._policy.completed(batch, runs, now)

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        """Ask the policy."""
        return self._policy.decide(pending, now, final=final, others_idle=others_idle)

    @contextmanager
    def _changed(self) -> Iterator[None]:
        with ExitStack() as stack:
            for target, value in self._changes.items():
                stack.enter_context(patch(f"rpcb_trio._batching.{target}", value))
            yield


def cells(requests: int) -> list[Learning]:
    """All of them."""
    found = list[Learning]()
    for load in ("Poisson", "lock step", "overload", "deadlines", "objective"):
        count = 3 * requests if load in {"overload", "deadlines"} else requests
        each = partial(Learning, requests=count, load=load)
        found += [each(weather=weather) for weather in WEATHERS]
        found += [each(law=law) for law in ("stairs of 8", "powers of 2", "20+b^1.4")]
        found.append(each(law="stairs of 8", weather="by turns"))
    each = partial(Learning, requests=requests, load="padded")
    found += [each(law="20+10b padded", weather=weather) for weather in WEATHERS if weather != "cold sizes"]
    found += [each(law=law) for law in ("20+10b summed", "stairs of 128 padded")]
    return found


def show(found: Sequence[Found], seeds: int) -> None:
    """Print by how much each variant is worse than the policy as it is."""
    names = list(CHANGES)
    losses = {name: [100 * (each.scores[name].mean - 1) for each in found] for name in names}
    rows = [[each.cell.name, *(_text(losses[name][row]) for name in names)] for row, each in enumerate(found)]
    rows.append(["mean", *(_text(statistics.fmean(losses[name])) for name in names)])
    print_table(
        "The default policy without a mechanism of its estimator: per cent lost",
        "Mean latency (Poisson, lock step), requests in time (overload, deadlines), requests in time for a "
        f"second of the device (objective), requests a second (padded). Means of {seeds} seeds.",
        ["load, device, weather", *names],
        rows,
    )


def _text(loss: float) -> str:
    return f"{loss:+.1f}" if abs(loss) >= SHOWN else ""
