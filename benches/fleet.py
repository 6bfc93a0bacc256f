"""`python -m benches.fleet`: several workers on one queue.

A prefetch that follows the batches is compared with a fixed one; in simulation, or with `--real` on a
RabbitMQ, where the workers are tasks of this process and their services sleep. All systems meet the same
arrivals. The ideal of equal workers is one worker with an executor for each; of unequal ones it is the faster
alone, as long as it can take the load.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import cyclopts
import msgspec
import trio

from benches.broker import broker_at
from benches.report import print_table, write_json
from rpcb_trio import AutoPolicy, open_client, open_worker
from rpcb_trio.simulation import (
    Arrival,
    LockStep,
    OpenLoad,
    SimulatedWorker,
    linear,
    poisson,
    simulate_fleet,
)

FIXED, EACH, SIZE = 0.150, 0.025, 32
"""Seconds of a batch, seconds for each request in it, and the most requests in a batch."""
CAPACITY = SIZE / (FIXED + EACH * SIZE)
"""Requests a second of one worker, in full batches."""
DELAY = 0.0005
"""Seconds from a worker to the simulated broker."""
LOADS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
CALLERS: Final = (16, 20, 24, 30, 40)
THINK = 0.001
"""Seconds from a reply to the same caller's next request."""
SEEDS = 3


class Worker(msgspec.Struct, frozen=True):
    """One worker: how many times slower than others it is, its executors, and its prefetch."""

    slowness: float = 1.0
    executors: int = 1
    prefetch: int | None = None


System = Sequence[Worker]
FLEETS: Final[dict[str, System]] = {
    "2 equal": [Worker()] * 2,
    "4 equal": [Worker()] * 4,
    "speeds 1 and 4": [Worker(), Worker(slowness=4.0)],
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet under one load: mean latencies in seconds, or answers a second of callers in lock step."""

    fleet: str
    load: str
    fixed: float
    follows: float
    ideal: float

    @property
    def ratio(self) -> float:
        """How far from the ideal; 1.0 is at it."""
        return self.ideal / self.follows if self.load.endswith("callers") else self.follows / self.ideal


Call = Callable[[], Awaitable[None]]
Send = Callable[[Call, trio.Nursery], Awaitable[None]]
"""Sends a load by calls, some of them in tasks of a nursery."""
Measure = Callable[[System, str, float], float]
"""Mean latency of a system, under so much load of a fleet of that name."""


def main(
    *,
    real: bool = False,
    loads: tuple[float, ...] = LOADS,
    callers: tuple[int, ...] = CALLERS,
    requests: int = 1500,
    scale: float = 0.3,
    url: str | None = None,
    json: Path | None = None,
) -> None:
    """Compare them.

    Args:
        real: on a RabbitMQ instead of in simulation.
        loads: shares of what the fleet can do, with independent arrivals.
        callers: how many in lock step, on two equal workers.
        requests: of each run.
        scale: with --real: what a batch takes, as a share of what it takes in simulation.
        url: with --real: the broker; by default a private node.
        json: a file for what was found.
    """
    if real:
        with broker_at(url) as broker:
            on_broker = OnBroker(broker.url, broker.fresh_name, requests, scale)
            rows = [*open_rows(on_broker.latency, loads), *lock_step_rows(on_broker.rate, callers, scale)]
    else:
        rows = [
            *open_rows(partial(simulated_latency, requests), loads),
            *lock_step_rows(partial(simulated_rate, requests), callers, 1.0),
        ]
    print_table(
        "mean latency in seconds, and answers a second of callers in lock step",
        f"a batch takes {FIXED:g} s and {EACH:g} s for each request" + (f", times {scale:g}" if real else ""),
        ["fleet", "load", "fixed prefetch", "follows", "ideal", "from the ideal"],
        [
            [
                row.fleet,
                row.load,
                *(f"{each:.3f}" for each in (row.fixed, row.follows, row.ideal)),
                f"{row.ratio:.2f}x",
            ]
            for row in rows
        ],
    )
    if json is not None:
        write_json(json, "fleet", {"real": real, "requests": requests, "scale": scale}, rows)


def open_rows(latency: Measure, loads: Sequence[float]) -> list[Row]:
    """With independent arrivals."""
    return [
        Row(
            fleet=name,
            load=f"{load:g}",
            fixed=latency(with_fixed_prefetch(system), name, load),
            follows=latency(system, name, load),
            ideal=latency(ideal_of(system), name, load),
        )
        for name, system in FLEETS.items()
        for load in loads
    ]


def lock_step_rows(rate: Callable[[System, int], float], callers: Sequence[int], scale: float) -> list[Row]:
    """With callers in lock step on two workers; ideally they are two equal groups."""
    system = FLEETS["2 equal"]
    return [
        Row(
            fleet="2 equal",
            load=f"{count} callers",
            fixed=rate(with_fixed_prefetch(system), count),
            follows=rate(system, count),
            ideal=count / (scale * (FIXED + EACH * count / 2) + THINK),
        )
        for count in callers
    ]


def with_fixed_prefetch(system: System) -> System:
    """The same workers, each with the least prefetch that keeps its executors busy."""
    return [Worker(each.slowness, each.executors, SIZE * (each.executors + 1)) for each in system]


def ideal_of(system: System) -> System:
    """What a fleet is measured against; see the module."""
    alike = len({each.slowness for each in system}) == 1
    return with_fixed_prefetch([Worker(executors=len(system))] if alike else system[:1])


def arrival_rate(fleet: str, load: float) -> float:
    """Requests a second."""
    return load * CAPACITY * sum(1 / each.slowness for each in FLEETS[fleet])


def simulate(system: System, load: OpenLoad | LockStep) -> list[tuple[float, float]]:
    """When each request was sent, and when it was answered."""
    workers = [
        SimulatedWorker(
            AutoPolicy(SIZE),
            linear(FIXED * each.slowness, EACH * each.slowness),
            each.executors,
            each.prefetch,
        )
        for each in system
    ]
    found = simulate_fleet(workers, load, delay=DELAY)
    return [(each.arrival.at, each.arrival.at + each.latency) for each in found.requests]


def simulated_latency(requests: int, system: System, fleet: str, load: float) -> float:
    """The mean of several seeds."""

    def once(seed: int) -> float:
        times = islice(poisson(arrival_rate(fleet, load), Random(seed)), requests)  # noqa: S311 - no secret
        return mean_latency(simulate(system, OpenLoad(map(Arrival, times))))

    return statistics.fmean(map(once, range(SEEDS)))


def simulated_rate(requests: int, system: System, callers: int) -> float:
    """Of the second half, when groups have formed."""
    return answers_a_second(simulate(system, LockStep(callers, lambda: THINK, requests)))


def mean_latency(times: Sequence[tuple[float, float]]) -> float:
    """Of all but the first fifth: workers that have just begun don't know of each other."""
    settled = sorted(times)[len(times) // 5 :]
    return statistics.fmean(answered - sent for sent, answered in settled)


def answers_a_second(times: Sequence[tuple[float, float]]) -> float:
    answered = sorted(each for _, each in times)
    half = answered[len(answered) // 2 :]
    return (len(half) - 1) / (half[-1] - half[0])


class OnBroker:
    """The same on a RabbitMQ: workers as tasks of this process, whose services sleep.

    Args:
        url: the broker.
        fresh_name: gives a queue's name that nobody has.
        requests: of each run.
        scale: of what a batch takes.
    """

    def __init__(self, url: str, fresh_name: Callable[[], str], requests: int, scale: float) -> None:
        self._url = url
        self._fresh_name = fresh_name
        self._requests = requests
        self._scale = scale

    def latency(self, system: System, fleet: str, load: float) -> float:
        """Of one run, in seconds."""
        gaps = Random(1)  # noqa: S311 - no secret
        rate = arrival_rate(fleet, load) / self._scale

        async def send(call: Call, nursery: trio.Nursery) -> None:
            for _ in range(self._requests):
                nursery.start_soon(call)
                await trio.sleep(gaps.expovariate(rate))

        return mean_latency(trio.run(self._run, system, send))

    def rate(self, system: System, callers: int) -> float:
        """Of the second half of one run."""

        async def send(call: Call, nursery: trio.Nursery) -> None:
            async def caller() -> None:
                for _ in range(self._requests // callers):
                    await call()

            for _ in range(callers):
                nursery.start_soon(caller)

        return answers_a_second(trio.run(self._run, system, send))

    async def _run(self, system: System, send: Send) -> list[tuple[float, float]]:
        queue, times = self._fresh_name(), list[tuple[float, float]]()
        async with AsyncExitStack() as stack:
            for each in system:
                worker = open_worker(
                    self._service(each),
                    self._url,
                    queue,
                    batching=AutoPolicy(SIZE),
                    prefetch=each.prefetch,
                    prefetch_follows=each.prefetch is None,
                    replicas=each.executors,
                    instruments=[],
                )
                await stack.enter_async_context(worker)
            client = await stack.enter_async_context(open_client(self._url))

            async def call() -> None:
                sent = trio.current_time()
                await client.call(b"#", queue=queue, timeout=600)
                times.append((sent, trio.current_time()))

            async with trio.open_nursery() as nursery:
                await send(call, nursery)
        return times

    def _service(self, worker: Worker) -> Callable[[list[bytes]], list[bytes]]:
        def infer(bodies: list[bytes]) -> list[bytes]:
            time.sleep(self._scale * worker.slowness * (FIXED + EACH * len(bodies)))
            return bodies

        return infer


if __name__ == "__main__":
    cyclopts.run(main)
