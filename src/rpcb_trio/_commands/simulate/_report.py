"""What `simulate` prints, and what it writes as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from rpcb_trio._commands._outputs import ms, new_table, say
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands.serve._setup import policy_of, shares_of
from rpcb_trio._measure import Recording, ServiceLaw
from rpcb_trio._shares import REPLY_TO
from rpcb_trio.errors import Overloaded
from rpcb_trio.simulation import SimulatedRequest, Simulation

CALLERS = (
    "Callers in lock step are replayed at the recorded times; under the other policy they would have sent at "
    "other times."
)


@dataclass(frozen=True)
class Replayed:
    """A recording, and what other settings would have made of it."""

    recording: Recording
    settings: Settings
    law: ServiceLaw
    recorded: Simulation
    simulated: Simulation


def print_replayed(console: Console, found: Replayed) -> None:
    """Print what was recorded next to what was simulated, and how to take it."""
    recording, settings = found.recording, found.settings
    table = new_table(replay_title(found), "", "recorded", "simulated")
    table.add_row("policy", recording.policy, type(policy_of(settings)).__name__)
    table.add_row("max_batch_size", str(recording.max_batch_size), str(settings.max_batch_size))
    table.add_row("replicas", str(recording.replicas), str(settings.replicas))
    before, after = figures(found.recorded), figures(found.simulated)
    for name, (key, shown) in ROWS.items():
        table.add_row(name, shown(before[key]), shown(after[key]))
    for tenants, latencies in _by_tenants(found).items():
        table.add_row(f"p99 of {tenants}", *map(ms, latencies))
    console.print(table)
    for note in _notes(found):
        say(console, note)


def summary(found: Replayed) -> dict[str, Any]:
    """As it is written as JSON. Times are in seconds."""
    names = (
        *("batching", "max_batch_size", "max_wait", "max_batch_cost", "latency_objective"),
        *("max_pending", "tenant", "weight", "replicas"),
    )
    return {
        "worker": found.recording.worker,
        "settings": {name: getattr(found.settings, name) for name in names},
        "law": found.law.summary,
        "recorded": figures(found.recorded),
        "simulated": figures(found.simulated),
        "p99_by_tenants": _by_tenants(found),
    }


def figures(found: Simulation) -> dict[str, Any]:
    """Latencies are in seconds, from arrival to the computed result; of the served."""
    refused = [each.refused for each in found.requests if each.refused is not None]
    overloaded = refused.count(Overloaded.code)
    return {
        "requests": len(found.requests),
        "served": len(found.latencies),
        "expired": len(refused) - overloaded,
        "refused": overloaded,
        "mean": found.mean_latency,
        "p50": found.percentile(50),
        "p99": found.percentile(99),
        "batches": len(found.batches),
        "mean_batch_size": found.mean_batch_size,
        "largest_batch": max((batch.size for batch in found.batches), default=0),
    }


def _by_tenants(found: Replayed) -> dict[str, tuple[float, float]]:
    """Where tenants share the device: the p99 of the one with the most requests, and of all others."""
    shares = shares_of(found.settings)
    if shares is None:
        return {}

    def tenant_of(request: SimulatedRequest) -> str | None:
        arrival = request.arrival
        is_named = shares.tenant != REPLY_TO and arrival.tenant is not None
        return arrival.tenant if is_named else arrival.caller

    [(busiest, _)] = Counter(map(tenant_of, found.recorded.requests)).most_common(1)

    def p99(simulation: Simulation, *, others: bool) -> float:
        chosen = [each for each in simulation.requests if (tenant_of(each) != busiest) is others]
        return Simulation(tuple(chosen), ()).percentile(99)

    return {
        name: (p99(found.recorded, others=others), p99(found.simulated, others=others))
        for name, others in (("the busiest tenant", False), ("the others", True))
    }


ROWS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "mean latency": ("mean", ms),
    "p50 latency": ("p50", ms),
    "p99 latency": ("p99", ms),
    "batches": ("batches", str),
    "mean batch size": ("mean_batch_size", "{:.2f}".format),
    "expired": ("expired", str),
    "refused": ("refused", str),
}
"""What is printed of the figures, and how."""


def replay_title(found: Replayed) -> str:
    """Whose requests, and how many."""
    audits = found.recording.audits
    starts = "" if len(audits) == 1 else f" in {len(audits)} starts"
    return f"{found.recording.worker}: {len(found.recorded.requests)} requests{starts}"


def _notes(found: Replayed) -> list[str]:
    before, after = figures(found.recorded), figures(found.simulated)
    notes = [
        f"A batch takes {found.law}.",
        "Latency is from a request's arrival to its computed result; only served requests count.",
        CALLERS,
    ]
    if before["refused"] and found.settings.max_pending is None and found.settings.tenant is None:
        notes.append("No request is refused as overloaded in the simulation: it has no max_pending.")
    if found.law.largest and after["largest_batch"] > found.law.largest:
        notes.append(
            f"No batch above {found.law.largest} was recorded; what larger ones take is extrapolated."
        )
    return notes
