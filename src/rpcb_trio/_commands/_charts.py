"""The charts of `tune` and `simulate`; imported only where one is drawn, for matplotlib is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rpcb_trio._messages import Work
from rpcb_trio._tuning import Curve, Figures, Measured, Objective, ServiceLaw, Setting

COLOURS = ("#2a6f97", "#d1495b", "#e09f3e")
FAINT = "#a9b4bd"


def draw_tuning(
    path: Path,
    measured: Sequence[tuple[Measured, ServiceLaw]],
    cost: float,
    curves: Sequence[Curve],
    *,
    unit: str,
    objective: Objective,
) -> None:
    """What batches take, with the fitted line; and latency over the load, if any was asked about."""
    panels = len(measured) + bool(curves)
    figure = Figure(figsize=(4.8 * panels, 3.6), layout="constrained")
    *batches, last = figure.subplots(1, panels, squeeze=False)[0]
    if not curves:
        batches.append(last)
    for axes, (found, law) in zip(batches, measured, strict=True):
        _draw_batches(axes, found, law, cost)
    if curves:
        _draw_curves(last, curves, unit, objective)
    figure.savefig(path, dpi=150)


def draw_replay(path: Path, before: Figures, after: Figures) -> None:
    """How many of the served had their result within which time, recorded and simulated."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for colour, name, figures in ((FAINT, "recorded", before), (COLOURS[0], "simulated", after)):
        if figures.latencies:
            axes.ecdf([1e3 * each for each in figures.latencies], color=colour, label=name)
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("share of the served")
    _finish(axes)
    figure.savefig(path, dpi=150)


def _draw_batches(axes: Axes, found: Measured, law: ServiceLaw, cost: float) -> None:
    for each in found.observations:
        axes.plot(each.work.size, 1e3 * each.seconds, ".", color=FAINT, markersize=3)
    medians = [1e3 * median(found.seconds_of(size)) for size in found.sizes]
    axes.plot(found.sizes, medians, "o", color=COLOURS[0], label="median")
    line = [1e3 * law.line(Work(size, cost, size * cost)) for size in found.sizes]
    axes.plot(found.sizes, line, color=COLOURS[1], label="a + k * work, for the mean cost")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    together = "" if found.replicas == 1 else f", {found.replicas} at once"
    axes.set_title(f"what a batch takes, ms{together}", fontsize="medium")
    axes.set_xlabel("batch size")
    _finish(axes)


def _draw_curves(axes: Axes, curves: Sequence[Curve], unit: str, objective: Objective) -> None:
    for colour, curve in zip(COLOURS, curves, strict=False):
        axes.plot(
            curve.loads, [1e3 * each for each in curve.p99s], "o-", color=colour, label=_name(curve.setting)
        )
        axes.plot(curve.loads, [1e3 * each for each in curve.means], "--", color=colour)
    if objective != Objective():
        axes.axhline(1e3 * objective.limit, color="k", linewidth=0.7, label="objective")
    axes.set_yscale("log")
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted("{x:g}")
    axes.set_title("latency, ms: p99, and the mean dashed", fontsize="medium")
    axes.set_xlabel(unit)
    _finish(axes)


def _name(setting: Setting) -> str:
    replicas = "" if setting.replicas == 1 else f", {setting.replicas} replicas"
    return f"max_batch_size {setting.max_batch_size}{replicas}"


def _finish(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
