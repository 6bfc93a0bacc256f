"""The charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benches.report import Spread

OURS, BARE, PUBLISHED = "#2a6f97", "#a9b4bd", "#d1495b"


def draw_costs(path: Path, servers: Sequence[str], costs: Sequence[Spread], memory: Sequence[Spread]) -> None:
    """Bars of the medians, with a dot for each round; the worker's own in colour."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    colours = [OURS if name.startswith("rpcb_trio") else BARE for name in servers]
    figures = (("CPU time per message, µs", costs), ("peak resident memory, MiB", memory))
    for axes, (title, spreads) in zip(figure.subplots(1, 2, sharey=True), figures, strict=True):
        axes.barh(servers, [spread.median for spread in spreads], color=colours)
        for name, spread in zip(servers, spreads, strict=True):
            axes.plot(spread.rounds, [name] * len(spread.rounds), "k.", markersize=4)
        axes.set_title(title, fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    _save(figure, path)


def draw_latencies(
    path: Path,
    cases: Sequence[str],
    means: Sequence[float],
    p99s: Sequence[float],
    published: Sequence[float | None],
) -> None:
    """Bars of the means, a tick for each p99, and the published means beside them."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(cases, means, color=OURS, label="mean")
    axes.plot(p99s, cases, "k|", markersize=14, label="99 % are faster")
    known = [(value, case) for value, case in zip(published, cases, strict=True) if value is not None]
    axes.plot(
        *zip(*known, strict=True), "D", color=PUBLISHED, label="rabbit-rpc-batch, as published, elsewhere"
    )
    axes.set_xlabel("latency, ms")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
