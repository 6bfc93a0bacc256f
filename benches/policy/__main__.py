"""`python -m benches.policy`: policies in virtual time, against what no policy can beat.

The policies and the batcher are the objects that run in the worker; only the requests and the accelerator
are simulated.
"""

from __future__ import annotations

import os
from pathlib import Path

import cyclopts

from benches.policy import plan
from benches.policy.chart import draw
from benches.policy.show import show_cells, show_oracle, show_verdicts
from benches.policy.summary import measure_all
from benches.policy.verdicts import verdicts
from benches.report import progress, write_json


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
    with progress() as bar:
        task = bar.add_task(f"{len(cells)} loads, {seeds} seeds", total=len(cells) * seeds)
        found = measure_all(
            cells, seeds, processes or len(os.sched_getaffinity(0)), lambda: bar.advance(task)
        )
    show_oracle(found)
    show_cells(found, seeds)
    judged = list(verdicts(found))
    show_verdicts(judged)
    if json is not None:
        settings = {"seeds": seeds, "requests": requests, "quick": quick}
        write_json(json, "policy", settings, [*found, *judged])
    if plot is not None:
        draw(plot, found)


if __name__ == "__main__":
    cyclopts.run(main)
