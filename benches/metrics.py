"""`python -m benches.metrics`: what metrics cost the worker for each message.

A worker with metrics and one without live in one process, so that both have the same memory, caches and
interpreter; they take turns under the same flood, each pair of turns beginning with the other one.
"""

from __future__ import annotations

from pathlib import Path

import cyclopts

from benches.broker import broker_at, fresh_queue
from benches.cases import CASES
from benches.load import send
from benches.processes import running
from benches.report import Spread, print_table, progress, write_json
from benches.servers.metered import SUFFIX
from tests.rabbitmq import Broker

AT_MOST = 1.03
"""Times the processor time without metrics."""


def measure(broker: Broker, pairs: int, scale: float, case: str) -> tuple[list[float], list[float]]:
    """Microseconds of processor time for each message, without and with metrics, in one process."""
    plain, metered = list[float](), list[float]()
    with (
        fresh_queue(broker) as queue,
        fresh_queue(broker, f"{queue}{SUFFIX}") as other,
        running("metered", CASES[case].job(broker.url, queue)) as process,
        progress() as bar,
    ):
        turns = [(queue, plain), (other, metered)]
        for number in bar.track(range(pairs), description=case):
            for name, found in turns[:: 1 if number % 2 else -1]:
                sent = send(CASES[case].load(broker.url, name, process.pid, scale, number))
                found.append(1e6 * sent.cpu_seconds / sent.messages)
    return plain, metered


def main(
    *,
    case: str = "flood",
    processes: int = 6,
    pairs: int = 8,
    scale: float = 1.0,
    url: str | None = None,
    json: Path | None = None,
) -> None:
    """Measure processor time per message with metrics and without.

    Args:
        case: one of those of benches.echo.
        processes: how often the pair of workers is started.
        pairs: how many pairs of turns each process does.
        scale: how many of a case's messages are sent in a turn, as a factor.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
    """
    plain, metered = list[float](), list[float]()
    with broker_at(url) as broker:
        for _ in range(processes):
            found = measure(broker, pairs, scale, case)
            plain += found[0]
            metered += found[1]
    ratio = Spread.of([own / its for own, its in zip(metered, plain, strict=True)])
    figures = {"without": Spread.of(plain), "with": Spread.of(metered), "ratio": ratio}
    print_table(
        f"{case}: {CASES[case].title}",
        "Processor time of the worker for each message; medians, lowest-highest below.",
        ("", "without µs", "with µs", "ratio", f"at most {AT_MOST:g}"),
        [
            (
                "metrics",
                *(each.text(2) for each in figures.values()),
                "kept" if ratio.median <= AT_MOST else "missed",
            )
        ],
    )
    if json is not None:
        settings = {"case": case, "processes": processes, "pairs": pairs, "scale": scale, "at_most": AT_MOST}
        write_json(json, "metrics", settings, [figures])


if __name__ == "__main__":
    cyclopts.run(main)
