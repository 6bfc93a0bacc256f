"""`python -m benches.decide`: what the policies themselves cost, by how many requests wait; without a broker.

The worker's own batcher and policies serve a simulated load that keeps so many requests waiting. The clock is
read around each call of the policy, which adds some 0.1 us to each; the whole is the simulation's.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import cyclopts
import msgspec

from benches.report import print_table, progress, write_json
from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio.batching import Batch, Decision, Pending, Policy, Run, Shares
from rpcb_trio.simulation import Arrival, padded, simulate

LAW: Final = padded(0.002, 0.0002)
FEW, MANY = 100, 10_000
PATIENCE: Final = 60.0
SIZES: Final = (1, 2, 8, 32)
POLICIES: Final[Mapping[str, Callable[[], Policy]]] = {"fixed": FixedPolicy, "auto": AutoPolicy}

Kind = Callable[[Random, float], Arrival]
"""A request that arrives now."""

KINDS: Final[Mapping[str, Kind]] = {
    "all alike": lambda _, now: Arrival(now),
    "priorities": lambda chance, now: Arrival(now, priority=chance.choice((0, 0, 5))),
    "deadlines": lambda _, now: Arrival(now, deadline=now + PATIENCE),
    "deadlines, overload": lambda chance, now: Arrival(now, deadline=now + chance.uniform(0.005, 0.25)),
    "costs": lambda chance, now: Arrival(now, cost=chance.lognormvariate(1.0, 0.6)),
    "one tenant": lambda _, now: Arrival(now, caller="0"),
    "100 tenants": lambda chance, now: Arrival(now, caller=f"{chance.randrange(100)}"),
}
SHARED: Final = {"one tenant", "100 tenants"}
"""The kinds that tenants share."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of one policy under one load; the least of several rounds."""

    policy: str
    kind: str
    waiting: int
    arrived: float
    """Per request."""
    decide: float
    """Per request that leaves."""
    completed: float
    """Per request that leaves."""
    whole: float
    """Per request that leaves: simulation, batcher and policy."""

    @property
    def own(self) -> float:
        return self.arrived + self.decide + self.completed


class Backlog:
    """A load that keeps so many requests waiting, until so many have been sent."""

    def __init__(self, kind: Kind, waiting: int, requests: int) -> None:
        self._arrival = partial(kind, Random(1))  # noqa: S311 - a load, no secret
        self._waiting = waiting
        self._left = requests

    def first(self) -> Iterator[Arrival]:
        """All that wait from the start."""
        return (self._arrival(0.0) for _ in range(self._waiting))

    def answered(self, arrival: Arrival, now: float) -> Sequence[Arrival]:  # noqa: ARG002 - any load's
        """One for each that has left."""
        self._left -= 1
        return (self._arrival(now),) if self._left >= 0 else ()


class Timed(Policy):
    """A policy, and how long its methods took."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.seconds = {"arrived": 0.0, "decide": 0.0, "completed": 0.0}

    @property
    def max_batch_size(self) -> int:
        return self._policy.max_batch_size

    @property
    def ageing(self) -> float:
        return self._policy.ageing

    def arrived(self, pending: Pending) -> None:
        start = time.perf_counter()
        self._policy.arrived(pending)
        self.seconds["arrived"] += time.perf_counter() - start

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        start = time.perf_counter()
        decision = self._policy.decide(pending, now, final=final, others_idle=others_idle)
        self.seconds["decide"] += time.perf_counter() - start
        return decision

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None:
        start = time.perf_counter()
        self._policy.completed(batch, runs, now)
        self.seconds["completed"] += time.perf_counter() - start


def measure(policy: str, kind: str, waiting: int, requests: int, rounds: int) -> Cost:
    """Serve the load several times; the least counts, as other programs only add to it."""
    return min((_round(policy, kind, waiting, requests) for _ in range(rounds)), key=lambda each: each.own)


def _round(policy: str, kind: str, waiting: int, requests: int) -> Cost:
    timed = Timed(POLICIES[policy]())
    chance = Random(2)  # noqa: S311 - noise, no secret
    start = time.perf_counter()
    found = simulate(
        timed,
        Backlog(KINDS[kind], waiting, requests),
        LAW,
        noise=lambda: chance.lognormvariate(0.0, 0.1),
        shares=Shares() if kind in SHARED else None,
    )
    micros = 1e6 / len(found.requests)
    return Cost(
        policy=policy,
        kind=kind,
        waiting=waiting,
        whole=(time.perf_counter() - start) * micros,
        **{name: seconds * micros for name, seconds in timed.seconds.items()},
    )


def show(found: Mapping[tuple[str, str, int], Cost]) -> None:
    """Print what it costs by how many wait, and by how large the batches are."""
    rows = []
    for kind, policy in itertools.product(KINDS, POLICIES):
        few, many = found[policy, kind, FEW], found[policy, kind, MANY]
        figures = [few.own, many.own, many.own / few.own, few.whole, many.whole, many.whole / few.whole]
        rows.append([f"{kind}, {policy}", *(f"{each:.2f}" for each in figures)])
    columns = ["requests", f"policy, {FEW} wait", f"{MANY} wait", "ratio"]
    columns += [f"whole, {FEW} wait", f"{MANY} wait", "ratio"]
    print_table("Microseconds per request, batches of up to 32", "", columns, rows)
    rows = []
    for size, policy in itertools.product(SIZES, POLICIES):
        cost = found[policy, "all alike", size]
        rows.append(
            [f"{size}, {policy}", f"{cost.arrived:.2f}"]
            + [f"{each * size:.2f}" for each in (cost.decide, cost.completed, cost.decide + cost.completed)]
            + [f"{cost.own:.2f}"]
        )
    columns = [
        "batch",
        "arrived, per request",
        "decide, per batch",
        "completed, per batch",
        "both, per batch",
    ]
    print_table("Microseconds by size of batch", "", [*columns, "all, per request"], rows)


def main(*, requests: int = 20_000, rounds: int = 3, json: Path | None = None) -> None:
    """Measure what deciding and learning cost.

    Args:
        requests: how many follow those that wait from the start.
        rounds: how often each load is served; the least counts.
        json: a file for the figures.
    """
    loads = [
        *itertools.product(POLICIES, KINDS, (FEW, MANY)),
        *itertools.product(POLICIES, ["all alike"], SIZES),
    ]
    found: dict[tuple[str, str, int], Cost] = {}
    with progress() as bar:
        for policy, kind, waiting in bar.track(loads, description="loads"):
            found[policy, kind, waiting] = measure(policy, kind, waiting, requests, rounds)
    show(found)
    if json is not None:
        write_json(json, "decide", {"requests": requests, "rounds": rounds}, list(found.values()))


if __name__ == "__main__":
    cyclopts.run(main)
