"""The chart: a column for each device, a row for each kind of load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benches.plots import BARE, OURS, PUBLISHED
from benches.policy.cells import Cell, Closed, Open, Overload
from benches.policy.peers import AUTO, CORK, GREEDY
from benches.policy.summary import BEST_FIXED, Found, Score

COLOURS = {CORK: PUBLISHED, BEST_FIXED: BARE, GREEDY: "#e09f3e", AUTO: OURS}


def _poisson(cell: Cell) -> float | None:
    return cell.load if isinstance(cell, Open) and cell.shape == "Poisson" else None


def _bursty(cell: Cell) -> float | None:
    return cell.load if isinstance(cell, Open) and cell.shape == "bursty" else None


def _lock_step(cell: Cell) -> float | None:
    return cell.callers if isinstance(cell, Closed) and cell.think_ms == 1 else None


def _overload(cell: Cell) -> float | None:
    return cell.load if isinstance(cell, Overload) and cell.patience == 2 else None  # noqa: PLR2004 - one of two


ROWS: tuple[tuple[str, str, Callable[[Cell], float | None]], ...] = (
    ("Poisson: mean latency / optimum", "load", _poisson),
    ("bursty: mean latency / optimum", "load", _bursty),
    ("lock step, thinking 1 ms: mean latency / T(callers)", "callers", _lock_step),
    ("overload, patience 2 T(B): in time / optimum", "load", _overload),
)


def draw(path: Path, found: Sequence[Found]) -> None:
    """Draw what was found, as far as it lies on these axes."""
    devices = list(dict.fromkeys(each.cell.device for each in found if isinstance(each.cell, Open)))
    figure = Figure(figsize=(4 * len(devices), 2.8 * len(ROWS)), layout="constrained")
    grid = figure.subplots(len(ROWS), len(devices), squeeze=False)
    for row, (title, axis, place) in zip(grid, ROWS, strict=True):
        for axes, device in zip(row, devices, strict=True):
            _draw_lines(axes, [each for each in found if each.cell.device == device], place)
            axes.set_title(f"{device.name} ms\n{title}", fontsize="small")
            axes.set_xlabel(axis, fontsize="small")
            axes.spines[["top", "right"]].set_visible(False)
    grid[0][0].legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _draw_lines(axes: Axes, found: Sequence[Found], place: Callable[[Cell], float | None]) -> None:
    points = [(at, _scores(each)) for each in found if (at := place(each.cell)) is not None]
    axes.axhline(1.0, color="k", linewidth=0.5)
    for policy, colour in COLOURS.items():
        axes.errorbar(
            [at for at, _ in points],
            [scores[policy].mean for _, scores in points],
            [scores[policy].error for _, scores in points],
            fmt="o-",
            markersize=3,
            color=colour,
            label=policy,
        )


def _scores(found: Found) -> Mapping[str, Score]:
    _, best = found.best_fixed()
    return {**found.scores, BEST_FIXED: best}
