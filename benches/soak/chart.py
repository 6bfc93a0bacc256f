"""The chart of a soak: replies and faults over time, and the workers' memory."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benches.plots import BARE, OURS, PUBLISHED
from benches.soak.findings import Found

COLOURS = (OURS, PUBLISHED, "#6a994e")


def draw(path: Path, found: Found) -> None:
    """Three charts on one axis of time."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    replies, faults, memory = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 2))
    _draw_replies(replies, found)
    _draw_faults(faults, found)
    _draw_memory(memory, found)
    for axes in (replies, faults, memory):
        axes.spines[["top", "right"]].set_visible(False)
    memory.set_xlabel("seconds since the workers were started")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _draw_replies(axes: Axes, found: Found) -> None:
    axes.step(range(len(found.answered_in)), found.answered_in, where="post", color=OURS)
    axes.set_ylim(bottom=0)
    axes.set_title("replies per second", fontsize="medium")


def _draw_faults(axes: Axes, found: Found) -> None:
    kinds = sorted({each.fault for each in found.faults})
    for each in found.faults:
        place = kinds.index(each.fault)
        axes.plot(each.began, place, "|", color=PUBLISHED, markersize=12)
        axes.plot([each.began, each.began + each.lasted], [place, place], color=PUBLISHED, linewidth=5)
    axes.set_yticks(range(len(kinds)), kinds, fontsize="small")
    axes.set_title("faults", fontsize="medium")


def _draw_memory(axes: Axes, found: Found) -> None:
    for life in found.lives:
        colour = COLOURS[life.worker % len(COLOURS)]
        is_first = life is next(each for each in found.lives if each.worker == life.worker)
        label = f"worker {life.worker}" if is_first else None
        axes.plot([at for at, _ in life.memory], [mib for _, mib in life.memory], color=colour, label=label)
        if life.ended is not None:
            axes.axvline(life.ended, color=BARE, linewidth=0.5, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small")
    axes.set_title("resident memory, MiB; dotted where a process ended", fontsize="medium")
