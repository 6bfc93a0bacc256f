"""`python -m benches.pictures`: the pictures of the documentation, from simulations in virtual time.

No broker and no device. The same numbers come out on every machine; it takes some ten seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, TypeAlias

import cyclopts
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benches.plots import BARE, OURS, PUBLISHED
from benches.policy.cells import Open, Overload
from benches.policy.loads import MIDDLE, exponential
from benches.shares import HALF, simulated_p99
from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio.batching import Policy
from rpcb_trio.simulation import LockStep, Simulation, linear, simulate

FIXED_SECONDS, ITEM_SECONDS = 0.150, 0.025
"""The accelerator of rabbit-rpc-batch's table: a batch of b takes `150 + 25 b` ms."""
PAUSE_SECONDS = 0.002
"""How long a caller takes, in the mean, from a reply to its next request."""
LEARNING_ROUNDS = 30
"""Rounds of replies that do not count, since a policy learns in them."""

STYLE: dict[str, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rpcb_trio",
}

Makers: TypeAlias = Mapping[str, tuple[str, Callable[[], Policy]]]
"""From a policy's name to its colour, and how to make it."""

ONE_BY_ONE, WAITING, EAGER, AUTO = "one by one", "batches of 10, wait 100 ms", "start at once", "auto"

CALLED: Makers = {
    ONE_BY_ONE: (PUBLISHED, lambda: FixedPolicy(max_batch_size=1)),
    WAITING: (BARE, lambda: FixedPolicy(max_batch_size=10, max_wait=0.1)),
    AUTO: (OURS, AutoPolicy),
}


def lock_step(policy: Policy, callers: int, requests: int = 3000) -> Simulation:
    """So many callers, each of which sends its next request shortly after the reply to its last."""
    chance = Random(f"pictures {callers}")  # noqa: S311 - no secret
    load = LockStep(callers, exponential(chance, PAUSE_SECONDS), requests)
    return simulate(policy, load, linear(FIXED_SECONDS, ITEM_SECONDS))


def settled_latency_ms(policy: Policy, callers: int) -> float:
    """The mean latency, once the policy knows the callers."""
    latencies = lock_step(policy, callers).latencies
    return 1000 * fmean(latencies[LEARNING_ROUNDS * callers :])


def main(folder: Path = Path("docs/images")) -> None:
    """Draw the pictures of the documentation.

    Args:
        folder: where to write them.
    """
    style.use(STYLE)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in (
        ("callers", draw_callers),
        ("lock-step", draw_lock_step),
        ("open", draw_open),
        ("overload", draw_overload),
        ("shares", draw_shares),
    ):
        figure = Figure(figsize=(7, 3), layout="constrained")
        draw(figure)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        print(folder / f"{name}.svg")


def draw_callers(figure: Figure) -> None:
    """Mean latency by the number of callers."""
    axes = figure.subplots()
    callers = (1, 2, 3, 5, 7, 10)
    for name, (colour, make) in CALLED.items():
        means = [settled_latency_ms(make(), number) for number in callers]
        print(name, dict(zip(callers, map(round, means), strict=True)))
        axes.plot(callers, means, "o-", color=colour, markersize=4)
        axes.annotate(
            f"{name}: {means[-1]:.0f} ms",
            (callers[-1], means[-1]),
            xytext=(6, -12 if name == AUTO else 0),
            textcoords="offset points",
            color=colour,
            va="center",
        )
    axes.set_xlim(0.5, 14)
    axes.set_xticks(callers)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("callers, each with one request under way")
    axes.set_ylabel("mean latency, ms")


def draw_lock_step(figure: Figure) -> None:
    """Ten callers under two policies: when each batch ran, and how many requests it held."""
    rows = figure.subplots(2, sharex=True)
    for axes, (title, policy) in zip(
        rows, ((EAGER, FixedPolicy(max_batch_size=32)), (AUTO, AutoPolicy())), strict=True
    ):
        found = lock_step(policy, 10)
        begin = found.batches[3 * LEARNING_ROUNDS].closed
        _draw_batches(axes, found, begin, 2.0)
        mean = settled_latency_ms(type(policy)(), 10)
        axes.set_title(f"{title}: a caller waits {mean:.0f} ms for its reply", loc="left", fontsize=9)
    rows[1].set_xlabel("seconds")


def _draw_batches(axes: Axes, found: Simulation, begin: float, seconds: float) -> None:
    shown = [each for each in found.batches if begin <= each.closed < begin + seconds]
    for number, batch in enumerate(shown):
        left = batch.closed - begin
        axes.barh(0, batch.seconds, left=left, color=(OURS, "#61a5c2")[number % 2], height=0.8)
        axes.text(left + batch.seconds / 2, 0, f"{batch.size}", color="white", ha="center", va="center")
    axes.set_xlim(0, seconds)
    axes.set_yticks([0], ["batches"])


def draw_open(figure: Figure) -> None:
    """Requests at random times: mean latency by load, next to the least that is possible."""
    axes = figure.subplots()
    cells = [Open(shape="Poisson", load=load) for load in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)]
    largest = MIDDLE.max_batch_size
    policies: Makers = {
        "always wait 100 ms": (BARE, lambda: FixedPolicy(largest, 0.1)),
        AUTO: (OURS, lambda: AutoPolicy(largest)),
    }
    for name, (colour, make) in policies.items():
        means = [1000 * fmean(cell.figure(make(), seed) for seed in range(3)) for cell in cells]
        axes.plot([cell.load for cell in cells], means, "o-", color=colour, markersize=4, label=name)
    best = [1000 * fmean(cell.bound(seed) for seed in range(3)) for cell in cells]
    axes.plot([cell.load for cell in cells], best, "k:", label="the least possible")
    axes.set_ylim(0, 160)
    axes.set_xlabel(f"load; 1 is {MIDDLE.capacity:.0f} requests/s (a batch of b takes {MIDDLE.name} ms)")
    axes.set_ylabel("mean latency, ms")
    axes.legend()


def draw_overload(figure: Figure) -> None:
    """More requests than can be served: the share that is answered by its deadline."""
    axes = figure.subplots()
    cells = [Overload(load=load, patience=2) for load in (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)]
    largest = MIDDLE.max_batch_size
    policies: Makers = {
        "in order of arrival": (PUBLISHED, lambda: FixedPolicy(largest)),
        AUTO: (OURS, lambda: AutoPolicy(largest)),
    }
    for name, (colour, make) in policies.items():
        _draw_shares(axes, cells, [_share(cell.figure, make) for cell in cells], name, colour)
    axes.plot(
        [cell.load for cell in cells],
        [100 * fmean(cell.bound(seed) for seed in range(3)) for cell in cells],
        "k:",
        label="the most possible",
    )
    axes.set_ylim(0, 102)
    axes.set_xlabel("load; 1 is what full batches can serve")
    axes.set_ylabel("answered in time, %")
    axes.legend()


def draw_shares(figure: Figure) -> None:
    """A tenant's 99th percentile by what another one sends, with shares and without."""
    axes = figure.subplots()
    loads = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
    for name, colour, shares in (("without shares", PUBLISHED, False), ("with shares", OURS, True)):
        p99s = [fmean(simulated_p99(load, 10.0, seed, shares=shares) for seed in range(2)) for load in loads]
        print(name, dict(zip(loads, map(round, p99s), strict=True)))
        axes.plot(loads, p99s, "o-", color=colour, markersize=4, label=name)
    axes.axvline(HALF, color=BARE, linewidth=1)
    axes.text(HALF, 0.8, " its half", color=BARE, transform=axes.get_xaxis_transform())
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(loads, [f"{load:g}" for load in loads])
    axes.minorticks_off()
    axes.set_xlabel("what the other tenant sends; 1 is all that full batches can serve")
    axes.set_ylabel("99th percentile, ms")
    axes.legend()


def _share(figure: Callable[[Policy, int], float], make: Callable[[], Policy]) -> float:
    return 100 * fmean(figure(make(), seed) for seed in range(3))


def _draw_shares(axes: Axes, cells: Sequence[Overload], shares: list[float], name: str, colour: str) -> None:
    assert all(map(math.isfinite, shares))
    axes.plot([cell.load for cell in cells], shares, "o-", color=colour, markersize=4, label=name)


if __name__ == "__main__":
    cyclopts.run(main)
