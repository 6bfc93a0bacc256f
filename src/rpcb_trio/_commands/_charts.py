"""The charts of `load`, `tune` and `simulate`; imported where one is drawn, for matplotlib is an extra."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from rpcb_trio._measure import Figures, LatencyCurve, Measured, Objective, Setting
from rpcb_trio._messages import Work

COLOURS = ("#2a6f97", "#d1495b", "#e09f3e")
FAINT = "#a9b4bd"
ROUND = (1, 2, 5)
"""What ticks of a logarithmic axis begin with."""
FEW_TICKS = 3


def draw_load(title: str, figures: Figures) -> Figure:
    """The histogram of the latencies, with their percentiles."""
    figure, axes = _one_panel(title)
    for low, high, count in figures.histogram:
        axes.bar(1e3 * low, count, 1e3 * (high - low), align="edge", color=FAINT, edgecolor="white")
    for colour, name in zip(COLOURS, ("p50", "p99", "p99.9"), strict=True):
        value = figures.percentiles[name]
        if value < math.inf:
            axes.axvline(1e3 * value, color=colour, label=f"{name}: {1e3 * value:.3g} ms")
    _finish(axes, "latency, ms", "requests", log="x")
    return figure


def draw_ramp(steps: Mapping[float, Figures], objective: Objective, highest: float | None) -> Figure:
    """Latency over the rate of each step, and the objective."""
    figure, axes = _one_panel("latency over the rate")
    rates = sorted(steps)
    for colour, name in zip(COLOURS, ("p50", "p99"), strict=False):
        times = [1e3 * steps[rate].percentiles[name] for rate in rates]
        axes.plot(rates, times, "o-", color=colour, label=name)
    axes.axhline(1e3 * objective.limit, color="k", linewidth=0.7, label="objective")
    if highest is not None:
        axes.axvline(highest, color=COLOURS[2], label=f"highest: {highest:.4g}/s")
    _finish(axes, "requests/s", "latency, ms", log="xy")
    return figure


def draw_tuning(
    measured: Sequence[Measured],
    cost: float,
    curves: Sequence[LatencyCurve],
    *,
    unit: str,
    objective: Objective,
) -> Figure:
    """What batches take, with the fitted line; and latency over the load, if any was asked about.

    Of the curves the first is that of the recommended setting.
    """
    panels = len(measured) + bool(curves)
    figure = Figure(figsize=(4.8 * panels, 3.6), layout="constrained")
    *batches, last = figure.subplots(1, panels, squeeze=False)[0]
    if not curves:
        batches.append(last)
    for axes, found in zip(batches, measured, strict=True):
        _draw_batches(axes, found, cost)
    if curves:
        _draw_curves(last, curves, unit, objective)
    return figure


def draw_replay(title: str, before: Sequence[float], after: Sequence[float]) -> Figure:
    """How many of the served requests had their result within which time, recorded and simulated."""
    figure, axes = _one_panel(title)
    for colour, name, latencies in ((FAINT, "recorded", before), (COLOURS[0], "simulated", after)):
        if latencies:
            axes.ecdf([1e3 * each for each in latencies], color=colour, label=name)
    _finish(axes, "latency, ms", "share of the served")
    return figure


def _draw_batches(axes: Axes, found: Measured, cost: float) -> None:
    for each in found.observations:
        axes.plot(each.work.size, 1e3 * each.seconds, ".", color=FAINT, markersize=3)
    medians = [1e3 * median(found.seconds_of(size)) for size in found.sizes]
    axes.plot(found.sizes, medians, "o", color=COLOURS[0], label="median")
    line = [1e3 * found.law.line(Work(size, cost, size * cost)) for size in found.sizes]
    axes.plot(found.sizes, line, color=COLOURS[1], label="a + k * work, for the mean cost")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    together = "" if found.replicas == 1 else f", {found.replicas} at once"
    axes.set_title(f"what a batch takes, ms{together}", fontsize="medium")
    _finish(axes, "batch size")


def _draw_curves(axes: Axes, curves: Sequence[LatencyCurve], unit: str, objective: Objective) -> None:
    ordered = sorted(curves, key=lambda each: (each.setting.replicas, each.setting.max_batch_size))
    for colour, curve in zip(COLOURS, ordered, strict=False):
        name = _name(curve.setting) + (", recommended" if curve is curves[0] else "")
        axes.plot(curve.loads, [1e3 * each for each in curve.p99s], "o-", color=colour, label=name)
        axes.plot(curve.loads, [1e3 * each for each in curve.means], "--", color=colour)
    if objective != Objective():
        axes.axhline(1e3 * objective.limit, color="k", linewidth=0.7, label="objective")
    axes.set_title("latency, ms: p99, and the mean dashed", fontsize="medium")
    _finish(axes, unit, log="y")


def _name(setting: Setting) -> str:
    replicas = "" if setting.replicas == 1 else f", {setting.replicas} replicas"
    return f"max_batch_size {setting.max_batch_size}{replicas}"


def _one_panel(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize="medium")
    return figure, axes


def _finish(axes: Axes, x: str, y: str = "", *, log: str = "") -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in log:
            axes.set(**{f"{name}scale": "log"})
            _set_ticks(axis, *sorted(axes.get_xlim() if name == "x" else axes.get_ylim()))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _set_ticks(axis: Axis, low: float, high: float) -> None:
    """Round numbers, so few that their labels keep apart; matplotlib labels none, or each minor tick."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: Sequence[Any] = [first * 10.0**power for power in powers for first in ROUND]
    ticks = [each for each in ticks if low <= each <= high]
    if len(ticks) < FEW_TICKS:
        ticks = MaxNLocator(4).tick_values(low, high)
    elif len(ticks) > 3 * FEW_TICKS:
        ticks = [10.0**power for power in powers]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")
