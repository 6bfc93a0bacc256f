"""`python -m benches.echo`: what the worker costs for each message, next to bare loops that do the same.

Each server runs in a process of its own and answers the same requests, one server after the other, in
several rounds. A producer keeps a fixed number of requests in flight; its processor time and the broker's do
not count.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cyclopts
import msgspec
from cyclopts import Parameter
from msgspec.structs import asdict

from benches.broker import broker_at, fresh_queue
from benches.command import run_command
from benches.load import Load, send
from benches.meter import READY, Job, Measured
from benches.plots import draw_costs
from benches.report import Spread, print_table, progress, write_json
from tests.rabbitmq import Broker

SERVERS = {
    "worker": "rpcb_trio, embedded",
    "command": "rpcb_trio, command",
    "bare_aiormq": "aiormq, batches",
    "bare_aiormq_single": "aiormq, one by one",
    "bare_pika": "pika, one by one",
}
BASELINE = "bare_aiormq"
END_SECONDS = 30.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What each server is given to do; `main` says what each setting is."""

    messages: int
    warm_up: int
    rounds: int
    body_size: int
    batch_size: int
    max_wait: float
    prefetch: int
    in_flight: int

    def job(self, url: str, queue: str, profile: str | None) -> Job:
        """For the server."""
        return Job(
            url=url,
            queue=queue,
            messages=self.messages,
            warm_up=self.warm_up,
            batch_size=self.batch_size,
            max_wait=self.max_wait,
            prefetch=self.prefetch,
            profile=profile,
        )

    def load(self, url: str, queue: str) -> Load:
        """For the producer."""
        return Load(
            url=url,
            queue=queue,
            messages=self.warm_up + self.messages,
            in_flight=self.in_flight,
            body_size=self.body_size,
        )


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All rounds of one server."""

    server: str
    cpu_us_per_message: Spread
    user_us_per_message: Spread
    ratio_to_bare_aiormq: Spread
    """Of the processor time, round by round: both were measured within seconds."""
    messages_per_second: Spread
    mean_batch_size: Spread | None
    """None where only the server's process could be seen."""
    peak_rss_mib: Spread


def cpu_us(measured: Measured) -> float:
    """Processor time for each message, in microseconds."""
    return 1e6 * (measured.user_seconds + measured.system_seconds) / measured.messages


def summary(server: str, rounds: Sequence[Measured], baseline: Sequence[Measured]) -> Found:
    """Sum up one server's rounds."""
    batches = [each.messages / each.batches for each in rounds if each.batches is not None]
    return Found(
        server=server,
        cpu_us_per_message=Spread.of([cpu_us(each) for each in rounds]),
        user_us_per_message=Spread.of([1e6 * each.user_seconds / each.messages for each in rounds]),
        ratio_to_bare_aiormq=Spread.of(
            [cpu_us(each) / cpu_us(bare) for each, bare in zip(rounds, baseline, strict=True)]
        ),
        messages_per_second=Spread.of([each.messages / each.seconds for each in rounds]),
        mean_batch_size=Spread.of(batches) if batches else None,
        peak_rss_mib=Spread.of([each.peak_rss_mib for each in rounds]),
    )


def run_server(server: str, job: Job, load: Load) -> Measured:
    """Start a server, send it the load, and take what it measured."""
    if server == "command":
        return run_command(job, load)
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", f"benches.servers.{server}", msgspec.json.encode(job).decode()],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != READY:
                raise SystemExit(f"the server {server} did not start")
            send(load)
            output, _ = process.communicate(timeout=END_SECONDS)
        finally:
            process.kill()
    return msgspec.json.decode(output, type=Measured)


def run_rounds(broker: Broker, plan: Plan, profile: str | None) -> dict[str, list[Measured]]:
    """Run every server in each round, each round beginning with another one."""
    measured: dict[str, list[Measured]] = {server: [] for server in SERVERS}
    names = list(SERVERS)
    with progress() as bar:
        task = bar.add_task("", total=plan.rounds * len(names))
        for number in range(plan.rounds):
            first = number % len(names)
            for server in names[first:] + names[:first]:
                bar.update(task, description=f"round {number + 1}/{plan.rounds}: {SERVERS[server]}")
                with fresh_queue(broker) as queue:
                    job = plan.job(broker.url, queue, profile if server == "worker" else None)
                    measured[server].append(run_server(server, job, plan.load(broker.url, queue)))
                bar.advance(task)
    return measured


def main(
    *,
    messages: int = 6000,
    warm_up: int = 1000,
    rounds: int = 5,
    body_size: int = 1000,
    batch_size: int = 32,
    max_wait: float = 0.1,
    prefetch: int = 64,
    in_flight: int = 256,
    url: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
    profile: Annotated[str | None, Parameter(show=False)] = None,
) -> None:
    """Measure processor time per message, throughput and memory of the worker and of bare loops.

    Args:
        messages: how many each server answers in each round.
        warm_up: how many it answers before those.
        rounds: how often each server is run.
        body_size: of a request and its reply, in bytes.
        batch_size: the largest batch.
        max_wait: how long the worker waits for a batch to fill, in seconds; a null model leaves it none.
        prefetch: how many requests the broker hands out unacked.
        in_flight: how many requests the producer keeps unanswered.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
        plot: a file for a chart.
        profile: a file for cProfile's figures of the worker's last round; the times are void with it.
    """
    plan = Plan(
        messages=messages,
        warm_up=warm_up,
        rounds=rounds,
        body_size=body_size,
        batch_size=batch_size,
        max_wait=max_wait,
        prefetch=prefetch,
        in_flight=in_flight,
    )
    with broker_at(url) as broker:
        measured = run_rounds(broker, plan, profile)
    found = [summary(server, measured[server], measured[BASELINE]) for server in SERVERS]
    show(found)
    if json is not None:
        write_json(json, "echo", asdict(plan), found)
    if plot is not None:
        draw_costs(
            plot,
            [SERVERS[each.server] for each in found],
            [each.cpu_us_per_message for each in found],
            [each.peak_rss_mib for each in found],
        )


def show(found: Sequence[Found]) -> None:
    """Print the table."""
    print_table(
        "Echo over RabbitMQ: what a server costs",
        "Medians of the rounds, lowest-highest below; processor time of the server alone, user and system.",
        ("server", "CPU µs/message", "to aiormq", "messages/s", "mean batch", "peak RSS MiB"),
        [
            (
                SERVERS[each.server],
                each.cpu_us_per_message.text(),
                each.ratio_to_bare_aiormq.text(2),
                each.messages_per_second.text(),
                each.mean_batch_size.text(1) if each.mean_batch_size else "",
                each.peak_rss_mib.text(1),
            )
            for each in found
        ],
    )


if __name__ == "__main__":
    cyclopts.run(main)
