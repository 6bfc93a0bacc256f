"""What `tune` prints, and what it writes as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import msgspec
from rich.console import Console

from rpcb_trio._commands._outputs import ms, new_table, say
from rpcb_trio._measure import (
    Advice,
    Demand,
    LatencyCurve,
    Measured,
    Objective,
    Predicted,
    ServiceLaw,
    Setting,
)

CROOKED = 0.1
"""Where the line misses a size by more, it is said."""


class Found(msgspec.Struct, frozen=True):
    """All that `tune` found."""

    target: str
    costs: Sequence[float]
    """Of the requests it was measured with."""
    measured: Sequence[Measured]
    laws: Sequence[ServiceLaw]
    demand: Demand = Demand()
    objective: Objective = Objective()
    advice: Advice | None = None
    curves: Sequence[LatencyCurve] = ()

    def with_advice(
        self, demand: Demand, objective: Objective, advice: Advice, curves: Sequence[LatencyCurve]
    ) -> Found:
        """The same, and what follows from it for a load."""
        return msgspec.structs.replace(self, demand=demand, objective=objective, advice=advice, curves=curves)


def print_measured(console: Console, found: Found) -> None:
    """Print what batches took, and the line through it; a table for each number of replicas."""
    for measured, law in zip(found.measured, found.laws, strict=True):
        together = "" if measured.replicas == 1 else f", {measured.replicas} replicas computing at once"
        table = new_table(
            f"What a batch of {found.target} takes{together}",
            *("size", "runs", "median", "5 % .. 95 %", "requests/s"),
        )
        for size in measured.sizes:
            times = measured.seconds_of(size)
            spread = " .. ".join(map(ms, _edges(times)))
            table.add_row(
                str(size), str(len(times)), ms(median(times)), spread, f"{_rate(measured, size):.4g}"
            )
        console.print(table)
        say(console, _line(law))
        if measured.left_out is not None:
            say(console, f"Not measured: {measured.left_out}.")
        console.print()


def print_advice(console: Console, advice: Advice, demand: Demand, objective: Objective) -> None:
    """Print what was simulated, and what follows."""
    has_objective = objective != Objective()
    table = new_table(
        f"Simulated with batching = auto: {demand}",
        *("max batch", "prefetch", "replicas", "mean", "p99", "busy"),
        *((f"highest {demand.unit}",) if has_objective else ()),
    )
    for each in advice.settings:
        figures = _row(each)
        if has_objective:
            figures.append("none" if not each.highest else f"{each.highest:.4g}")
        table.add_row(*figures, style="bold" if each is advice.recommended else "")
    console.print(table)
    say(
        console, "Latency is from the decoded request to its result: decode, encode and the broker add to it."
    )
    say(console, _verdict(advice.recommended, demand, objective))
    console.print()
    for line in rpcb_toml(advice.recommended.setting):
        say(console, line)


def rpcb_toml(setting: Setting) -> list[str]:
    """The lines that set it."""
    return [
        "# rpcb.toml",
        'batching = "auto"',
        f"max_batch_size = {setting.max_batch_size}",
        f"prefetch = {setting.prefetch}",
        f"replicas = {setting.replicas}",
    ]


def summary(found: Found) -> dict[str, Any]:
    """As it is written as JSON. Times are in seconds."""
    pairs = list(zip(found.measured, found.laws, strict=True))
    advice = found.advice
    return {
        "target": found.target,
        "measured": [_measured(each, law) for each, law in pairs],
        "load": None if advice is None else found.demand,
        "objective": None if advice is None else found.objective,
        "settings": [] if advice is None else [_predicted(each) for each in advice.settings],
        "recommended": None if advice is None else _predicted(advice.recommended),
        "curves": found.curves,
    }


def _edges(times: Sequence[float]) -> tuple[float, float]:
    last = len(times) - 1
    return times[round(0.05 * last)], times[round(0.95 * last)]


def _rate(found: Measured, size: int) -> float:
    return found.replicas * size / max(fmean(found.seconds_of(size)), 1e-9)


def _line(law: ServiceLaw) -> str:
    line = f"t = {law}; half of the batches are within {law.residual:.1%} of it."
    missed = [f"{size} by {factor - 1:+.0%}" for size, factor in law.bends if abs(factor - 1) > CROOKED]
    if missed:
        line += f" It misses size {', '.join(missed)}; the simulation goes by what was measured there."
    return line


def _row(each: Predicted) -> list[str]:
    names = [str(each.setting.max_batch_size), str(each.setting.prefetch), str(each.setting.replicas)]
    if not each.keeps_up:
        return [*names, "overloaded", "overloaded", f"{each.busy_share:.0%}"]
    return [*names, ms(each.mean), ms(each.p99), f"{each.busy_share:.0%}"]


def _verdict(best: Predicted, demand: Demand, objective: Objective) -> str:
    size, replicas = best.setting.max_batch_size, best.setting.replicas
    name = f"max_batch_size {size} with {replicas} replica(s)"
    if not best.keeps_up:
        return (
            f"No setting keeps up with {demand}: {name} computes {best.capacity:.4g} requests/s at the very "
            "most. Use a faster device or more workers, or expect less."
        )
    if not best.meets:
        return f"No setting meets a {objective} at {demand}; the nearest is {name}."
    if best.highest is None:
        return f"Recommended: {name}."
    return f"Recommended: {name}; it meets a {objective} up to {best.highest:.4g} {demand.unit}."


def _measured(found: Measured, law: ServiceLaw) -> dict[str, Any]:
    sizes = []
    for size in found.sizes:
        times = found.seconds_of(size)
        low, high = _edges(times)
        sizes.append(
            {"size": size, "runs": len(times), "median": median(times), "low": low, "high": high}
            | {"requests_per_second": _rate(found, size)}
        )
    return {
        "replicas": found.replicas,
        "sizes": sizes,
        "left_out": found.left_out,
        "law": law.summary,
    }


def _predicted(each: Predicted) -> dict[str, Any]:
    return {
        "max_batch_size": each.setting.max_batch_size,
        "prefetch": each.setting.prefetch,
        "replicas": each.setting.replicas,
        "mean": each.mean,
        "p99": each.p99,
        "busy_share": each.busy_share,
        "keeps_up": each.keeps_up,
        "meets": each.meets,
        "capacity": each.capacity,
        "highest": each.highest,
    }
