"""The charts of `load`; imported only where one is drawn, for matplotlib is an extra."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rpcb_trio._commands._charts import COLOURS, FAINT
from rpcb_trio._commands.load._report import Loaded, load_title


def draw_figures(path: Path, found: Loaded) -> None:
    """The histogram of the latencies, with their percentiles."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for step in found.steps:
        figures = step.figures
        for low, high, count in figures.histogram:
            axes.bar(1e3 * low, count, 1e3 * (high - low), align="edge", color=FAINT, edgecolor="white")
        for colour, name in zip(COLOURS, ("p50", "p99", "p99.9"), strict=True):
            value = figures.percentiles[name]
            if value < math.inf:
                axes.axvline(1e3 * value, color=colour, label=f"{name}: {1e3 * value:.3g} ms")
        axes.set_title(load_title(found, figures), fontsize="medium")
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("requests")
    _logarithmic(axes, "x")
    _save(figure, axes, path)


def draw_ramp(path: Path, found: Loaded) -> None:
    """Latency over the rate of each step, and the objective."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = sorted(found.steps, key=lambda step: step.rate or 0.0)
    rates = [step.rate or 0.0 for step in steps]
    for colour, name in zip(COLOURS, ("p50", "p99"), strict=False):
        times = [1e3 * step.figures.percentiles[name] for step in steps]
        axes.plot(rates, times, "o-", color=colour, label=name)
    objective = found.wanted.p99 or found.wanted.mean or math.inf
    axes.axhline(1e3 * objective, color="k", linewidth=0.7, label="objective")
    if found.highest is not None:
        axes.axvline(found.highest, color=COLOURS[2], label=f"highest: {found.highest:.4g}/s")
    axes.set_xlabel("requests/s")
    axes.set_ylabel("latency, ms")
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    _save(figure, axes, path)


def _logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    axes.set(**{f"{which}scale": "log"})
    axes.tick_params(axis=which, which="both", length=3, pad=3)
    axis = axes.xaxis if which == "x" else axes.yaxis
    for formatted in (axis.set_major_formatter, axis.set_minor_formatter):
        formatted("{x:g}")


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
