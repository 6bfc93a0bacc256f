"""`python -m benches.policy`: policies in virtual time, against what no policy can beat.

`python -m benches.policy estimator`: the default policy without one mechanism of its estimator each.

The policies and the batcher are the objects that run in the worker; only the requests and the accelerator
are simulated.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cyclopts

from benches.policy import estimator as learning
from benches.policy import plan
from benches.policy.cells import Cell
from benches.policy.chart import draw
from benches.policy.show import show_cells, show_oracle, show_verdicts
from benches.policy.summary import Found, measure_all
from benches.policy.verdicts import verdicts
from benches.report import progress, write_json

app = cyclopts.App()


@app.default
def main(
    *,
    seeds: int = 5,
    requests: int = 1000,
    processes: int | None = None,
    quick: bool = False,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Compare the batching policies, and say which promises the default one keeps.

    Args:
        seeds: how often each load is simulated.
        requests: how many an open load is of.
        processes: how many run at once; by default one for each processor. The figures don't depend on it.
        quick: a small part of the loads.
        json: a file for the figures.
        plot: a file for a chart.
    """
    cells = plan.quick(requests) if quick else plan.full(requests)
    found = _measured(cells, seeds, processes)
    show_oracle(found)
    show_cells(found, seeds)
    judged = list(verdicts(found))
    show_verdicts(judged)
    if json is not None:
        settings = {"seeds": seeds, "requests": requests, "quick": quick}
        write_json(json, "policy", settings, [*found, *judged])
    if plot is not None:
        draw(plot, found)


@app.command
def estimator(
    *, seeds: int = 5, requests: int = 400, processes: int | None = None, json: Path | None = None
) -> None:
    """Show what each mechanism of the default policy's estimator of service times is worth.

    Args:
        seeds: how often each load is simulated.
        requests: how many a load is of; where only the share in time counts, three times as many.
        processes: how many run at once; by default one for each processor. The figures don't depend on it.
        json: a file for the figures.
    """
    found = _measured(learning.cells(requests), seeds, processes)
    learning.show(found, seeds)
    if json is not None:
        write_json(json, "estimator", {"seeds": seeds, "requests": requests}, found)


def _measured(cells: Sequence[Cell], seeds: int, processes: int | None) -> list[Found]:
    with progress() as bar:
        task = bar.add_task(f"{len(cells)} loads, {seeds} seeds", total=len(cells) * seeds)
        processes = processes or len(os.sched_getaffinity(0))
        return measure_all(cells, seeds, processes, lambda: bar.advance(task))


if __name__ == "__main__":
    app()
