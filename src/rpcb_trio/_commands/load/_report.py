"""What `load` prints, and what it writes as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from rpcb_trio._commands._outputs import ms, new_table, rate, say
from rpcb_trio._commands.load._flags import LoadFlags
from rpcb_trio._measure import Figures, Objective, Tally

BAR = 40
"""Characters."""
LATE = 0.01
"""Seconds by which a request may go out after its time without a note in the report."""


@dataclass
class Step:
    """One load at one rate."""

    rate: float | None
    tally: Tally

    @cached_property
    def figures(self) -> Figures:
        """What was found; to be asked for once the load has ended."""
        return self.tally.figures()


@dataclass
class Loaded:
    """What was asked for and what was found."""

    how: LoadFlags
    objective: Objective
    steps: list[Step] = field(default_factory=list)
    highest: float | None = None
    """The highest rate that meets the objective."""

    def meets(self, step: Step) -> bool:
        """Whether it meets the objective, and has few enough errors."""
        found, objective = step.figures, self.objective
        latency = objective.figure(p99=found.p99_of_all, mean=found.mean)
        return latency <= objective.limit and found.error_share <= self.how.max_errors

    @property
    def is_good(self) -> bool:
        """Whether the command succeeds."""
        return self.highest is not None if self.how.ramp else all(map(self.meets, self.steps))


def progress_line(step: Step, past: float) -> str:
    """How a load goes, so many seconds past its warm-up."""
    tally = step.tally
    found, errors = tally.latencies, tally.errors.total()
    at = "" if step.rate is None else f"at {rate(step.rate)}/s: "
    if not past:
        return f"{at}warming up, {tally.in_flight} in flight"
    return (
        f"{at}{found.count} answered, {rate(found.count / past)}/s, {tally.in_flight} in flight, "
        f"p50 {ms(found.percentile(50))}, p99 {ms(found.percentile(99))}, {errors} errors"
    )


def print_figures(console: Console, found: Loaded) -> None:
    for step in found.steps:
        figures = step.figures
        say(console, load_title(found, figures))
        say(console, f"{rate(figures.answered_per_second)} answered/s, errors: {_share(figures)}")
        console.print(_latencies(figures))
        for line in _bars(figures):
            say(console, line)
        for line in _notes(found, figures):
            say(console, line)


def print_ramp(console: Console, found: Loaded) -> None:
    table = new_table(
        f"Rates for a {found.objective}", "requests/s", "answered/s", "mean", "p50", "p99", "errors", "meets"
    )
    for step in found.steps:
        figures = step.figures
        shown = (rate(step.rate or 0), rate(figures.answered_per_second), ms(figures.mean))
        percentiles = (ms(figures.percentiles["p50"]), ms(figures.p99_of_all))
        table.add_row(*shown, *percentiles, _share(figures), "yes" if found.meets(step) else "no")
    console.print(table)
    say(console, "In p99 an error counts as a request that is never answered (-).")
    highest = max((step.rate or 0.0 for step in found.steps if found.meets(step)), default=None)
    if highest is None:
        say(console, "No rate meets it.")
    else:
        say(console, f"Highest rate that meets it: {rate(highest)} requests/s.")


def summary(found: Loaded) -> dict[str, Any]:
    """As it is written as JSON. Times are in seconds."""
    return {
        "settings": {key: value for key, value in asdict(found.how).items() if value is not None},
        "objective": found.objective,
        "highest_rate": found.highest,
        "steps": [
            {"rate": step.rate, "meets": found.meets(step), **msgspec.structs.asdict(step.figures)}
            for step in found.steps
        ],
    }


def load_title(found: Loaded, figures: Figures) -> str:
    """What was sent, for people."""
    if found.how.rate is not None:
        sent = f"{rate(found.how.rate)} requests/s at random times"
    else:
        callers = found.how.callers or 1
        sent = f"{callers} caller{'s' if callers > 1 else ''} in a closed loop"
    return f"{sent}: {figures.answered} of {figures.requests} answered in {figures.seconds:.3g} s"


def _latencies(figures: Figures) -> Table:
    table = new_table("Latency", "mean", *figures.percentiles, "max")
    table.add_row(*map(ms, (figures.mean, *figures.percentiles.values(), figures.max)))
    return table


def _bars(figures: Figures) -> list[str]:
    most = max((count for _, _, count in figures.histogram), default=1)
    return [
        f"{ms(low):>9} - {ms(high):>9} {'█' * math.ceil(BAR * count / most):<{BAR}} {count}"
        for low, high, count in figures.histogram
    ]


def _notes(found: Loaded, figures: Figures) -> list[str]:
    notes = [f"error {kind}: {count}" for kind, count in figures.errors.items()]
    awaited = figures.requests - figures.answered - sum(figures.errors.values())
    if awaited:
        notes.append(f"{awaited} were still awaited when it was stopped.")
    if figures.errors:
        notes.append("Latencies are of those that were answered.")
    if "not-sent" in figures.errors:
        notes.append(
            f"not-sent: when they were due, {found.how.max_in_flight} were unanswered (--max-in-flight)."
        )
    if figures.worst_lag > LATE:
        notes.append(
            f"Requests went out up to {ms(figures.worst_lag)} late, because this program was busy; "
            "the latencies include that."
        )
    return notes


def _share(figures: Figures) -> str:
    return f"{100 * figures.error_share:.3g} %" if figures.errors else "none"
