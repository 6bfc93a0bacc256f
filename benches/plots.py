"""The charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benches.batching import Costs
from benches.cases import CASES, FLOOR, SERVERS
from benches.costs import Found
from benches.report import Spread

if TYPE_CHECKING:
    from benches.mixes import Kept  # with models, which most benches do without

OURS, BARE, PUBLISHED = "#2a6f97", "#a9b4bd", "#d1495b"


def draw_costs(path: Path, found: Sequence[Found]) -> None:
    """A row for each case: what a message costs each server, and the latency that its callers see."""
    cases = list(dict.fromkeys(each.case for each in found))
    parts = [[each for each in found if each.case == case] for case in cases]
    heights = [1 + len(part) for part in parts]
    figure = Figure(figsize=(10, 0.6 + 0.32 * sum(heights)), layout="constrained")
    rows = figure.subplots(len(cases), 2, squeeze=False, height_ratios=heights)
    for (left, right), part in zip(rows, parts, strict=True):
        _draw_servers(left, part, [each.cpu_us_per_message for each in part], "{:.0f} µs")
        _draw_servers(right, part, [each.mean_ms for each in part], "{:.1f} ms")
        right.set_yticklabels([])
        left.set_title(f"{part[0].case}: CPU per message", fontsize="medium", loc="left")
        right.set_title(f"mean latency ({CASES[part[0].case].title})", fontsize="medium", loc="left")
    _save(figure, path)


def _draw_servers(axes: Axes, part: Sequence[Found], spreads: Sequence[Spread], label: str) -> None:
    names = [SERVERS[each.server] for each in part]
    colours = [_colour_of(each.server) for each in part]
    axes.barh(names, [spread.median for spread in spreads], color=colours)
    most = max(spread.highest for spread in spreads)
    for place, spread in enumerate(spreads):
        axes.plot(spread.rounds, [place] * len(spread.rounds), "k.", markersize=3)
        axes.text(
            spread.highest + 0.02 * most, place, label.format(spread.median), va="center", fontsize="small"
        )
    axes.set_xlim(0, 1.2 * most)
    axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()


def _colour_of(server: str) -> str:
    if server == FLOOR:
        return PUBLISHED
    return OURS if SERVERS[server].startswith("rpcb_trio") else BARE


def draw_fronts(path: Path, names: Sequence[str], costs: Sequence[Spread], alone: Sequence[Spread]) -> None:
    """Bars of the medians, with a dot for each round; the first, which is our own, in colour."""
    own = [not number for number in range(len(names))]
    _draw_pair(path, names, own, {"CPU time per request, µs": costs, "median latency of one user, ms": alone})


def _draw_pair(
    path: Path, names: Sequence[str], own: Sequence[bool], figures: Mapping[str, Sequence[Spread]]
) -> None:
    figure = Figure(figsize=(9, 0.7 + 0.5 * len(names)), layout="constrained")
    colours = [OURS if is_own else BARE for is_own in own]
    for axes, (title, spreads) in zip(figure.subplots(1, 2, sharey=True), figures.items(), strict=True):
        axes.barh(names, [spread.median for spread in spreads], color=colours)
        for name, spread in zip(names, spreads, strict=True):
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


def draw_batches(path: Path, found: Sequence[Costs]) -> None:
    """For each model what a second of audio costs by batch size, and what a batch costs by its audio."""
    figure = Figure(figsize=(9, 3.2 * len(found)), layout="constrained")
    for (left, right), costs in zip(figure.subplots(len(found), 2, squeeze=False), found, strict=True):
        _draw_sizes(left, costs)
        _draw_line(right, costs)
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_backlog(path: Path, model: str, found: Sequence[Kept], expected: float) -> None:
    """For each mix how many times cheaper each policy is than one by one, with a dot for each round."""
    mixes = list(dict.fromkeys(each.mix for each in found))
    policies = list(dict.fromkeys(each.policy for each in found))[1:]
    figure = Figure(figsize=(8, 1 + 0.6 * len(mixes)), layout="constrained")
    axes = figure.subplots()
    for number, (policy, colour) in enumerate(zip(policies, (OURS, BARE), strict=True)):
        spreads = [each.ratio_to_one for each in found if each.policy == policy]
        places = [place + 0.4 * number for place in range(len(mixes))]
        axes.barh(places, [spread.median for spread in spreads], 0.36, color=colour, label=policy)
        for place, spread in zip(places, spreads, strict=True):
            axes.plot(spread.rounds, [place] * len(spread.rounds), "k.", markersize=4)
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(expected, color=PUBLISHED, linewidth=1, label=f"{expected:g}x")
    axes.set_yticks([place + 0.2 for place in range(len(mixes))], mixes)
    axes.set_xlabel(f"{model}: CPU time of one by one over the policy's")
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _draw_sizes(axes: Axes, costs: Costs) -> None:
    for kind, colour in (("equal", OURS), ("mixed", PUBLISHED)):
        runs = [run for run in costs.runs if run.kind == kind]
        sizes, spreads = [run.batch_size for run in runs], [run.ms_per_second for run in runs]
        axes.plot(sizes, [spread.median for spread in spreads], "o-", color=colour, label=f"{kind} lengths")
        axes.vlines(
            sizes, [spread.lowest for spread in spreads], [spread.highest for spread in spreads], color=colour
        )
    axes.set_ylim(bottom=0)
    axes.set_title(f"{costs.model}: CPU ms per second of audio", fontsize="medium")
    axes.set_xlabel("batch size")


def _draw_line(axes: Axes, costs: Costs) -> None:
    runs = [run for run in costs.runs if run.kind == "equal"]
    seconds = [run.seconds for run in runs]
    if costs.fit is not None:
        label = f"{costs.fit.fixed_ms:.1f} + {costs.fit.ms_per_second:.2f} * seconds"
        axes.plot(seconds, [costs.fit.at(each) for each in seconds], color=BARE, label=label)
    axes.plot(seconds, [run.batch_ms.median for run in runs], "o", color=OURS, label="measured")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title(f"{costs.model}: CPU ms of a batch of equal clips", fontsize="medium")
    axes.set_xlabel("seconds of audio in the batch")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
