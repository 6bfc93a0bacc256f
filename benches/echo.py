"""`python -m benches.echo`: what the worker costs for each message, next to others that do the same.

Each server runs in a process of its own and takes the same requests, one server after the other, in several
rounds, case by case. Only the server's processor time counts, not the producer's or the broker's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from benches.broker import broker_at, fresh_queue
from benches.cases import CASES, SERVERS, Case
from benches.costs import Rounds, Turn, show_case, show_verdicts, summary, verdicts
from benches.load import send
from benches.meter import peak_rss_mib
from benches.plots import draw_costs
from benches.processes import running
from benches.report import progress, write_json
from tests.rabbitmq import Broker


def take_turn(broker: Broker, case: Case, server: str, scale: float, seed: int) -> Turn:
    """Start a server, send it the load, and see what that took."""
    with (
        fresh_queue(broker) as queue,
        running(server, case.job(broker.url, queue)) as process,
    ):
        sent = send(case.load(broker.url, queue, process.pid, scale, seed))
        return Turn(
            cpu_us=1e6 * sent.cpu_seconds / sent.messages,
            mean_ms=sent.mean_ms,
            p50_ms=sent.p50_ms,
            p99_ms=sent.p99_ms,
            messages_per_second=sent.messages / sent.seconds,
            peak_rss_mib=peak_rss_mib(process.pid),
        )


def run_rounds(
    broker: Broker, taking_part: Mapping[str, Sequence[str]], rounds: int, scale: float
) -> dict[str, Rounds]:
    """Run every server in each round of each case, each round beginning with another one."""
    measured: dict[str, dict[str, list[Turn]]] = {
        case: {server: [] for server in servers} for case, servers in taking_part.items()
    }
    with progress() as bar:
        task = bar.add_task("", total=rounds * sum(map(len, taking_part.values())))
        for number in range(rounds):
            for case, servers in taking_part.items():
                first = number % len(servers)
                for server in (*servers[first:], *servers[:first]):
                    bar.update(task, description=f"round {number + 1}/{rounds}: {case}, {SERVERS[server]}")
                    turn = take_turn(broker, CASES[case], server, scale, number)
                    measured[case][server].append(turn)
                    bar.advance(task)
    return dict(measured)


def chosen(what: str, wanted: Sequence[str], known: Collection[str]) -> list[str]:
    """Those that are wanted, or all, in our order.

    Raises:
        SystemExit: one is unknown; says which there are.
    """
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"no {what} is called {unknown[0]}; there are {', '.join(known)}")
    return [name for name in known if name in wanted or not wanted]


def main(
    *,
    case: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    server: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    rounds: int = 3,
    scale: float = 1.0,
    url: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure processor time per message and latency of the worker, of others, and of a floor beneath all.

    Args:
        case: flood, one-caller, large, poisson-1000 or poisson-2000, again for more; all without it.
        server: worker, fixed, command, floor, pika_select, bare_pika or bare_aiormq, again for more.
        rounds: how often each server is run.
        scale: how many of a case's messages are sent, as a factor.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
        plot: a file for a chart.
    """
    servers = chosen("server", server, SERVERS)
    taking_part = {
        name: [each for each in CASES[name].servers if each in servers]
        for name in chosen("case", case, CASES)
    }
    with broker_at(url) as broker:
        measured = run_rounds(broker, taking_part, rounds, scale)
    found = [summary(name, each, measured[name]) for name in measured for each in measured[name]]
    for name in measured:
        show_case(name, [each for each in found if each.case == name])
    judged = verdicts(measured)
    if judged:
        show_verdicts(judged)
    if json is not None:
        write_json(json, "echo", {"rounds": rounds, "scale": scale, "targets": judged}, found)
    if plot is not None:
        draw_costs(plot, found)


if __name__ == "__main__":
    cyclopts.run(main)
