"""What `simulate` prints, and what it writes as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from rpcb_trio._commands._outputs import ms, new_table, say
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._tuning import Figures, Recording, ServiceLaw


@dataclass(frozen=True)
class Replayed:
    """A recording, and what other settings would have made of it."""

    recording: Recording
    settings: Settings
    law: ServiceLaw
    recorded: Figures
    simulated: Figures


def print_replayed(console: Console, found: Replayed) -> None:
    """Print what was recorded next to what was simulated, and how to take it."""
    recording, settings = found.recording, found.settings
    starts = "" if len(recording.audits) == 1 else f" in {len(recording.audits)} starts"
    title = f"{recording.worker}: {found.recorded.requests} requests{starts}"
    table = new_table(title, "", "recorded", "simulated")
    table.add_row("policy", recording.policy, settings.batching)
    table.add_row("max_batch_size", str(recording.max_batch_size), str(settings.max_batch_size))
    table.add_row("replicas", str(recording.replicas), str(settings.replicas))
    for name, value in _ROWS.items():
        table.add_row(name, value(found.recorded), value(found.simulated))
    console.print(table)
    for note in _notes(found):
        say(console, note)


def summary(found: Replayed) -> dict[str, Any]:
    """As it is written as JSON. Times are in seconds."""
    names = ("batching", "max_batch_size", "max_wait", "max_batch_cost", "latency_objective", "replicas")
    shown = [name for name in Figures.__struct_fields__ if name != "latencies"]
    return {
        "worker": found.recording.worker,
        "settings": {name: getattr(found.settings, name) for name in names},
        "law": found.law.summary,
        "recorded": {name: getattr(found.recorded, name) for name in shown},
        "simulated": {name: getattr(found.simulated, name) for name in shown},
    }


_ROWS: dict[str, Callable[[Figures], str]] = {
    "mean latency": lambda figures: ms(figures.mean),
    "p50 latency": lambda figures: ms(figures.p50),
    "p99 latency": lambda figures: ms(figures.p99),
    "batches": lambda figures: str(figures.batches),
    "mean batch size": lambda figures: f"{figures.mean_batch_size:.2f}",
    "expired": lambda figures: str(figures.expired),
    "refused": lambda figures: str(figures.refused),
}

CALLERS = (
    "Callers in lock step are replayed as they came, though answered at other times they would have come at "
    "other times."
)


def _notes(found: Replayed) -> list[str]:
    law = found.law
    notes = [
        f"A batch takes {law}.",
        "Latency is from the arrival to the computed result, of those that were served.",
        CALLERS,
    ]
    if found.recorded.refused:
        notes.append("Nobody is refused in the simulation: it has no max_pending.")
    if law.largest and found.simulated.largest_batch > law.largest:
        notes.append(
            f"No batch above {law.largest} was recorded; what larger ones take is drawn out from those."
        )
    return notes
