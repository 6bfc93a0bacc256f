"""`python -m benches.metrics`: what metrics cost the worker for each message.

One worker answers a flood in full batches, and its metrics are switched on and off ten times a second. Thus
both sides have one session, memory and interpreter, and what slows the machine down falls on both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cyclopts
import msgspec
import trio
from prometheus_client import CollectorRegistry

from benches.broker import broker_at, fresh_queue
from benches.cases import CASES, Case
from benches.load import send
from benches.report import Spread, print_table, write_json
from rpcb_trio import FixedPolicy, HealthInstrument, Instrument, LogInstrument, Request, open_worker
from rpcb_trio.batching import Batch, Run
from rpcb_trio.instruments import Answer, Settled, Setup
from rpcb_trio.metrics import MetricsInstrument

AT_MOST = 1.03
"""Times the processor time without metrics."""

SLICE = 0.1
"""Seconds for which metrics are on, and then off."""
LEAST = 100
"""Messages of a slice that counts; those at the ends of a load have fewer."""
FULL = 0.05
"""Seconds that a batch waits to fill: longer than a flood takes."""


class Slice(msgspec.Struct, frozen=True):
    """A time within which metrics were either on or off."""

    is_on: bool
    messages: int
    cpu_us: float
    """For each message."""


class Switched(Instrument):
    """Passes what costs for each batch on to another instrument, or does not."""

    def __init__(self, metrics: MetricsInstrument) -> None:
        self._metrics = metrics
        self._is_on = False
        self._messages = 0
        self.slices: list[Slice] = []

    async def alternate(self) -> None:
        """Switch until cancelled."""
        while True:
            began = time.process_time()
            self._messages = 0
            await trio.sleep(SLICE)
            if self._messages:
                used = 1e6 * (time.process_time() - began)
                self.slices.append(Slice(self._is_on, self._messages, used / self._messages))
            self._is_on = not self._is_on

    def worker_starting(self, setup: Setup) -> None:
        self._metrics.worker_starting(setup)

    def requests_received(self, requests: Sequence[Request]) -> None:
        if self._is_on:
            self._metrics.requests_received(requests)

    def batch_closed(self, batch: Batch) -> None:
        if self._is_on:
            self._metrics.batch_closed(batch)

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:
        if self._is_on:
            self._metrics.batch_computed(batch, seconds, runs)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        self._messages += len(answers)
        if self._is_on:
            self._metrics.requests_settled(answers, settled)


async def measure(url: str, queue: str, case: Case, rounds: int, scale: float) -> list[Slice]:
    """Answer that load so many times."""
    switched, job = Switched(MetricsInstrument(CollectorRegistry())), case.job(url, queue)
    instruments = [LogInstrument(queue), HealthInstrument(queue), switched]
    policy = FixedPolicy(job.batch_size, max_wait=FULL)
    async with (
        open_worker(job.infer, url, queue, batching=policy, prefetch=job.prefetch, instruments=instruments),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(switched.alternate)
        for number in range(rounds):
            await trio.to_thread.run_sync(send, case.load(url, queue, os.getpid(), scale, number))
        nursery.cancel_scope.cancel()
    return switched.slices


def main(
    *,
    case: str = "flood",
    rounds: int = 3,
    scale: float = 20.0,
    url: str | None = None,
    json: Path | None = None,
) -> None:
    """Measure processor time per message with metrics and without.

    Args:
        case: one of those of benches.echo.
        rounds: how often the load is sent.
        scale: how many of the case's messages are sent each time, as a factor.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
    """
    with broker_at(url) as broker, fresh_queue(broker) as queue:
        slices = trio.run(measure, broker.url, queue, CASES[case], rounds, scale)
    pairs = [
        (one, other) if other.is_on else (other, one)
        for one, other in pairwise(slices)
        if one.is_on != other.is_on and min(one.messages, other.messages) >= LEAST
    ]
    if not pairs:
        raise SystemExit("the load was too short for a slice with metrics and one without; raise --scale")
    figures = {
        "without": Spread.of([off.cpu_us for off, _ in pairs]),
        "with": Spread.of([on.cpu_us for _, on in pairs]),
        "ratio": Spread.of([on.cpu_us / off.cpu_us for off, on in pairs]),
    }
    ratio = figures["ratio"].median
    print_table(
        f"{case}: {CASES[case].title}",
        f"Processor time for each message, in {len(pairs)} pairs of slices; medians, lowest-highest below.",
        ("", "without µs", "with µs", "ratio", f"at most {AT_MOST:g}"),
        [("metrics", *(each.text(2) for each in figures.values()), "kept" if ratio <= AT_MOST else "missed")],
    )
    if json is not None:
        settings = {"case": case, "rounds": rounds, "scale": scale, "at_most": AT_MOST}
        write_json(json, "metrics", settings, [figures])


if __name__ == "__main__":
    cyclopts.run(main)
