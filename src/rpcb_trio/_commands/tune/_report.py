"""What `tune` prints, and what it writes as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import msgspec
from rich.console import Console

from rpcb_trio._commands._outputs import ms, new_table, rate, say
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
from rpcb_trio._statistics import percentile

CROOKED = 0.1
"""The share by which the line must miss a size for the report to say so."""


class Found(msgspec.Struct, frozen=True):
    """All that `tune` found."""

    target: str
    costs: Sequence[float]
    """Of the requests it was measured with."""
    measured: Sequence[Measured]
    demand: Demand = Demand()
    objective: Objective = Objective()
    advice: Advice | None = None
    curves: Sequence[LatencyCurve] = ()


def print_measured(console: Console, found: Found) -> None:
    for measured in found.measured:
        together = "" if measured.replicas == 1 else f", {measured.replicas} replicas computing at once"
        table = new_table(
            f"What a batch of {found.target} takes{together}",
            *("size", "runs", "median", "5 % .. 95 %", "requests/s"),
        )
        for size in measured.sizes:
            times = measured.seconds_of(size)
            spread = " .. ".join(map(ms, (percentile(times, 5), percentile(times, 95))))
            table.add_row(str(size), str(len(times)), ms(median(times)), spread, rate(_rate(measured, size)))
        console.print(table)
        say(console, _line(measured.law))
        if measured.left_out is not None:
            say(console, f"Not measured: {measured.left_out}.")
        console.print()


def print_advice(console: Console, advice: Advice, demand: Demand, objective: Objective) -> None:
    has_objective = objective != Objective()
    table = new_table(
        f"Simulated with batching = auto: {demand}",
        *("max batch", "prefetch", "replicas", "mean", "p99", "busy"),
        *((f"highest {demand.unit}",) if has_objective else ()),
    )
    for each in advice.settings:
        figures = _row(each)
        if has_objective:
            figures.append("none" if not each.highest else rate(each.highest))
        table.add_row(*figures, style="bold" if each is advice.recommended else "")
    console.print(table)
    say(
        console, "Latency is from the decoded request to its result: decode, encode and the broker add to it."
    )
    say(console, _conclusion(advice.recommended, demand, objective))
    console.print()
    setting = advice.recommended.setting
    say(
        console,
        f"""# rpcb.toml
batching = "auto"
max_batch_size = {setting.max_batch_size}
prefetch = {setting.prefetch}
replicas = {setting.replicas}""",
    )


def summary(found: Found) -> dict[str, Any]:
    """As it is written as JSON. Times are in seconds."""
    advice = found.advice
    return {
        "target": found.target,
        "measured": [_measured(each) for each in found.measured],
        "load": None if advice is None else found.demand,
        "objective": None if advice is None else found.objective,
        "settings": [] if advice is None else [_predicted(each) for each in advice.settings],
        "recommended": None if advice is None else _predicted(advice.recommended),
        "curves": found.curves,
    }


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


def _conclusion(best: Predicted, demand: Demand, objective: Objective) -> str:
    size, replicas = best.setting.max_batch_size, best.setting.replicas
    name = f"max_batch_size {size} with {replicas} replica(s)"
    if not best.keeps_up:
        return (
            f"No setting keeps up with {demand}: {name} computes {rate(best.capacity)} requests/s at the "
            "very most. Use a faster device or more workers, or expect less."
        )
    if not best.meets:
        return f"No setting meets a {objective} at {demand}; the nearest is {name}."
    if best.highest is None:
        return f"Recommended: {name}."
    return f"Recommended: {name}; it meets a {objective} up to {rate(best.highest)} {demand.unit}."


def _measured(found: Measured) -> dict[str, Any]:
    sizes = []
    for size in found.sizes:
        times = found.seconds_of(size)
        low, high = percentile(times, 5), percentile(times, 95)
        sizes.append(
            {"size": size, "runs": len(times), "median": median(times), "low": low, "high": high}
            | {"requests_per_second": _rate(found, size)}
        )
    return {
        "replicas": found.replicas,
        "sizes": sizes,
        "left_out": found.left_out,
        "law": found.law.summary,
    }


def _predicted(each: Predicted) -> dict[str, Any]:
    rest = msgspec.structs.asdict(each)
    setting: Setting = rest.pop("setting")
    return {**msgspec.structs.asdict(setting), "prefetch": setting.prefetch, **rest}
