"""`python -m benches.giving_up`: what cancels save where some callers hang up.

Requests arrive at random, and one in five callers hangs up at a random moment within some seconds, if it has
no reply by then. The same arrivals meet a worker with `cancel` and one without: in virtual time, or with
`--real` on a RabbitMQ, where the model sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, Final

import cyclopts
import msgspec
import trio
from trio.testing import MockClock

from benches.broker import broker_at
from benches.fleet import CAPACITY, EACH, FIXED, SIZE
from benches.report import print_table, write_json
from rpcb_trio import AutoPolicy, MemoryBroker, Topology, open_client, open_worker
from rpcb_trio.simulation import poisson
from rpcb_trio.testing import VirtualExecutor, in_place
from rpcb_trio.transports import Transport

HANG_UPS: Final = 0.2
PATIENCE: Final = 3.0
"""Seconds, times `scale`, within which those hang up that do."""
LOADS: Final = (0.5, 0.9, 1.1, 1.3)
LONG: Final = 600.0

Run = Callable[[float, bool], "Outcome"]
"""Of a load, with `cancel` or without."""


class Outcome(msgspec.Struct, frozen=True):
    """What one run came to."""

    given_up: int
    """Requests whose callers hung up."""
    computed: int
    """Requests that were computed, for whomever."""
    busy: float
    """Seconds that the model was busy."""
    latency: float
    """Mean, in seconds, of those who stayed."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One load, as a share of the worker's capacity: what was found without cancels, and with."""

    load: float
    requests: int
    off: Outcome
    on: Outcome

    @property
    def spared(self) -> float:
        """The share of the requests given up that were not computed."""
        return (self.off.computed - self.on.computed) / max(1, self.on.given_up)

    @property
    def saved(self) -> float:
        """The share of the model's time."""
        return 1 - self.on.busy / self.off.busy


def main(
    *,
    real: bool = False,
    loads: tuple[float, ...] = LOADS,
    requests: int = 2000,
    scale: float = 0.3,
    url: str | None = None,
    json: Path | None = None,
) -> None:
    """Measure it.

    Args:
        real: on a RabbitMQ instead of in virtual time.
        loads: shares of what the worker can do.
        requests: of each run.
        scale: with --real: what a batch takes, and how soon callers hang up, as a share of the rest.
        url: with --real: the broker; by default a private node.
        json: a file for what was found.
    """
    if real:
        with broker_at(url) as broker:

            def on_broker(load: float, cancel: bool) -> Outcome:  # noqa: FBT001 - as `Run` has it
                course = Course(load, requests, scale, cancel=cancel)
                return trio.run(course.run, broker.url, broker.fresh_name())

            rows = rows_of(on_broker, loads, requests)
    else:

        def in_virtual_time(load: float, cancel: bool) -> Outcome:  # noqa: FBT001 - likewise
            course = Course(load, requests, 1.0, cancel=cancel)
            return trio.run(course.run, MemoryBroker(), "work", clock=MockClock(autojump_threshold=0))

        rows = rows_of(in_virtual_time, loads, requests)
    print_table(
        f"{HANG_UPS:.0%} of the callers hang up within {PATIENCE:g} s",
        f"a batch takes {FIXED:g} s and {EACH:g} s for each request" + (f", times {scale:g}" if real else ""),
        ["load", "given up", "of these not computed", "model's time saved", "mean latency off", "on"],
        [
            [
                f"{row.load:g}",
                str(row.on.given_up),
                f"{row.spared:.0%}",
                f"{row.saved:.1%}",
                f"{row.off.latency:.2f} s",
                f"{row.on.latency:.2f} s",
            ]
            for row in rows
        ],
    )
    if json is not None:
        write_json(json, "giving_up", {"real": real, "requests": requests, "scale": scale}, rows)


def rows_of(run: Run, loads: Sequence[float], requests: int) -> list[Row]:
    """Each load without cancels, then with."""
    return [Row(load=load, requests=requests, off=run(load, False), on=run(load, True)) for load in loads]  # noqa: FBT003 - as `Run` has it


class Course:
    """The same arrivals and the same impatience for all who ask for the same load."""

    def __init__(self, load: float, requests: int, scale: float, *, cancel: bool) -> None:
        self._cancel = cancel
        self._scale = scale
        dice = Random(1)  # noqa: S311 - no secret
        self._times = list(islice(poisson(load * CAPACITY / scale, dice), requests))
        self._patience = [
            dice.uniform(0, PATIENCE * scale) if dice.random() < HANG_UPS else LONG for _ in self._times
        ]
        self._latencies: list[float] = []
        self._given_up = self._computed = 0
        self._busy = 0.0

    async def run(self, transport: Transport | str, queue: str) -> Outcome:
        is_virtual = not isinstance(transport, str)
        how: dict[str, Any] = (
            {"executors": [VirtualExecutor(self._count, self._seconds)]} if is_virtual else {}
        )
        service = self._count if is_virtual else self._sleep
        async with (
            open_worker(
                service,
                transport,
                Topology(queue=queue, cancel=self._cancel),
                batching=AutoPolicy(SIZE),
                offload=in_place,
                instruments=[],
                **how,
            ),
            open_client(transport, cancel=self._cancel) as client,
            trio.open_nursery() as nursery,
        ):
            began = trio.current_time()

            async def call(patience: float) -> None:
                sent = trio.current_time()
                with trio.move_on_after(patience) as hung_up:
                    await client.call(b"#", queue=queue, timeout=LONG)
                if hung_up.cancelled_caught:
                    self._given_up += 1
                elif patience == LONG:
                    self._latencies.append(trio.current_time() - sent)

            for at, patience in zip(self._times, self._patience, strict=True):
                await trio.sleep_until(began + at)
                nursery.start_soon(call, patience)
        return Outcome(self._given_up, self._computed, self._busy, fmean(self._latencies))

    def _seconds(self, size: int) -> float:
        return self._scale * (FIXED + EACH * size)

    def _count(self, bodies: list[bytes]) -> list[bytes]:
        self._computed += len(bodies)
        self._busy += self._seconds(len(bodies))
        return bodies

    def _sleep(self, bodies: list[bytes]) -> list[bytes]:
        time.sleep(self._seconds(len(bodies)))
        return self._count(bodies)


if __name__ == "__main__":
    cyclopts.run(main)
