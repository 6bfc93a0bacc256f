"""The tables: a row for each cell, a column for each policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benches.policy.cells import Both, Cell, Closed, Open, Oracle, Overload, Padded
from benches.policy.peers import AUTO, CORK, GREEDY
from benches.policy.summary import BEST_FIXED, Found
from benches.policy.verdicts import Verdict
from benches.report import print_table

KINDS: tuple[tuple[type[Cell], str, str], ...] = (
    (
        Open,
        "Open loads: mean latency",
        "Over the least that any schedule could have, all arrivals known beforehand.",
    ),
    (
        Closed,
        "Lock step: mean latency",
        "Over T(callers). Think times are exponential; the first 30 batches are left out.",
    ),
    (
        Overload,
        "Overload: answered in time",
        "Over the most that could be. Learning counts: from a cold start. Patience is in times of T(B).",
    ),
    (Both, "Mixed loads: mean latency", "Over greedy's."),
    (
        Padded,
        "A backlog of recordings of log-normal length: throughput",
        "Over greedy's (first in, first out, by count). 20 ms a batch and 10 ms for each padded second.",
    ),
)


def show_cells(found: Sequence[Found], seeds: int) -> None:
    """Print a table for each kind of cell."""
    for kind, title, caption in KINDS:
        rows = [_row(each) for each in found if isinstance(each.cell, kind)]
        if rows:
            columns = ("device, ms", "load", AUTO, GREEDY, BEST_FIXED, "with", CORK)
            print_table(title, f"{caption} Means of {seeds} seeds ± their standard error.", columns, rows)


def _row(found: Found) -> tuple[str, ...]:
    name, best = found.best_fixed()
    scores = found.scores
    return (
        found.cell.device.name,
        found.cell.name,
        scores[AUTO].text,
        scores[GREEDY].text,
        best.text,
        name.removeprefix("fixed "),
        scores[CORK].text,
    )


def show_oracle(found: Sequence[Found]) -> None:
    """Print how far the simulator is from the exact chain."""
    rows = [
        (
            each.cell.name,
            f"{1e3 * each.bound:.2f}",
            f"{1e3 * each.bound * each.scores[GREEDY].mean:.2f}",
            each.scores[GREEDY].text,
        )
        for each in found
        if isinstance(each.cell, Oracle)
    ]
    if rows:
        print_table(
            "The simulator itself: greedy's mean latency, ms",
            "Exact: of the stationary Markov chain.",
            ("20+b, B=32", "exact", "simulated", "ratio"),
            rows,
        )


def show_verdicts(verdicts: Iterable[Verdict]) -> None:
    """Print each promise and what became of it."""
    print_table(
        f"What is promised of {AUTO}",
        "Means over the seeds.",
        ("promise", "limit", "worst", "where", "mean", "kept"),
        [
            (
                each.promise,
                f"{'≤' if each.at_most else '≥'} {each.limit:.2f}",
                f"{each.found:.3f}",
                each.where,
                f"{each.mean:.3f}",
                "[green]yes[/]" if each.kept else "[red]NO[/]",
            )
            for each in verdicts
        ],
    )
