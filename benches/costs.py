"""What the rounds of `benches.echo` say: medians, ratios round by round, and which targets are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from benches.cases import CASES, FLOOR, SERVERS, TARGETS, WORKER, Figure, Target
from benches.report import Spread, print_table


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What one server did in one case in one round."""

    cpu_us: float
    """Processor time for each message."""
    mean_ms: float
    p50_ms: float
    p99_ms: float
    messages_per_second: float
    peak_rss_mib: float


Rounds = Mapping[str, Sequence[Turn]]
"""By server, in the same order."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All rounds of one server in one case."""

    case: str
    server: str
    cpu_us_per_message: Spread
    mean_ms: Spread
    p50_ms: Spread
    p99_ms: Spread
    messages_per_second: Spread
    peak_rss_mib: Spread
    ratio_to_floor: Spread | None
    """Of the processor time; None where that server took no part."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A target, and what became of it."""

    case: str
    target: str
    ratio: Spread
    at_most: float
    kept: bool
    """As the median has it."""


def ratio(rounds: Rounds, figure: Figure, server: str, other: str) -> Spread | None:
    """How many times the other's figure, round by round: both were measured within seconds."""
    if other not in rounds:
        return None
    pairs = zip(rounds[server], rounds[other], strict=True)
    return Spread.of([getattr(own, figure) / getattr(its, figure) for own, its in pairs])


def summary(case: str, server: str, rounds: Rounds) -> Found:
    """Sum up one server's rounds in a case."""
    own = rounds[server]
    return Found(
        case=case,
        server=server,
        cpu_us_per_message=Spread.of([turn.cpu_us for turn in own]),
        mean_ms=Spread.of([turn.mean_ms for turn in own]),
        p50_ms=Spread.of([turn.p50_ms for turn in own]),
        p99_ms=Spread.of([turn.p99_ms for turn in own]),
        messages_per_second=Spread.of([turn.messages_per_second for turn in own]),
        peak_rss_mib=Spread.of([turn.peak_rss_mib for turn in own]),
        ratio_to_floor=ratio(rounds, "cpu_us", server, FLOOR),
    )


def verdict(target: Target, measured: Mapping[str, Rounds]) -> Verdict | None:
    """Whether a target is kept; None if this run cannot tell."""
    rounds = measured.get(target.case, {})
    against = ratio(rounds, target.figure, WORKER, target.server) if WORKER in rounds else None
    if against is None:
        return None
    return Verdict(
        case=target.case,
        target=target.text(),
        ratio=against,
        at_most=target.at_most,
        kept=against.median <= target.at_most,
    )


def verdicts(measured: Mapping[str, Rounds]) -> list[Verdict]:
    """Of all targets that this run can tell of."""
    return [found for target in TARGETS if (found := verdict(target, measured)) is not None]


def show_case(case: str, found: Sequence[Found]) -> None:
    print_table(
        f"{case}: {CASES[case].title}",
        "",
        ("server", "CPU µs", "to floor", "mean ms", "p50 ms", "p99 ms"),
        [
            (
                SERVERS[each.server],
                each.cpu_us_per_message.text(),
                each.ratio_to_floor.text(2) if each.ratio_to_floor else "",
                *(spread.text() for spread in (each.mean_ms, each.p50_ms, each.p99_ms)),
            )
            for each in found
        ],
    )


def show_verdicts(found: Sequence[Verdict]) -> None:
    """Print what became of the targets."""
    print_table(
        "What the worker promises",
        "Medians, lowest-highest below. CPU is the server's for each message; latencies are the caller's.",
        ("target", "ratio", ""),
        [
            (
                f"{each.case}: {each.target}",
                each.ratio.text(2),
                "[green]kept[/]" if each.kept else "[red bold]missed[/]",
            )
            for each in found
        ],
    )
