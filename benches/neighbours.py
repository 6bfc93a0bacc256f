"""`python -m benches.neighbours`: what one client whose reply queue is full costs all others.

An honest load calls a worker at random times; beside it another client sends requests whose replies the
broker refuses. Rounds with and without that client take turns, and the honest load's latencies are compared.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cyclopts
import msgspec
import pika  # type: ignore[import-untyped] # it carries no types
import trio

from benches.broker import broker_at, fresh_queue
from benches.command import serving
from benches.report import Spread, percentile, print_table, progress, write_json
from rpcb_trio import open_client
from tests.rabbitmq import Broker

TARGET = "benches.servers.job:slow"
REFUSES = {"x-max-length": 0, "x-overflow": "reject-publish"}
BODY = b"#" * 64
WARM_UP = 50
"""Calls that do not count: the worker learns its model in them."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The honest load's latencies beside so many refused replies a second."""

    refused_per_second: float
    p50_ms: Spread
    p99_ms: Spread
    p99_ratio: Spread
    """To the round without any."""


def main(
    *,
    rate: float = 200.0,
    refused: tuple[float, ...] = (5.0, 20.0, 50.0),
    seconds: float = 10.0,
    rounds: int = 3,
    url: str | None = None,
    json: Path | None = None,
) -> None:
    """Measure it.

    Args:
        rate: honest requests a second, at random times.
        refused: requests a second whose replies are refused; one row each.
        seconds: of each round.
        rounds: of each rate.
        url: of the broker; without it a private node is started.
        json: a file for all figures.
    """
    latencies: dict[float, list[list[float]]] = {each: [] for each in (0.0, *refused)}
    with broker_at(url) as broker, progress() as bar:
        task = bar.add_task("rounds", total=rounds * len(latencies))
        for number in range(rounds):
            for each, found in latencies.items():
                found.append(take_round(broker, rate, each, seconds, number))
                bar.advance(task)
    results = [find(each, latencies) for each in latencies]
    print_table(
        f"{rate:g} honest requests/s beside a client whose reply queue is full",
        "milliseconds; the median of the rounds, the lowest and the highest below it",
        ["refused/s", "p50", "p99", "p99, ratio to none"],
        [
            [f"{each.refused_per_second:g}", each.p50_ms.text(), each.p99_ms.text(), each.p99_ratio.text(2)]
            for each in results
        ],
    )
    if json is not None:
        settings = {"rate": rate, "refused": refused, "seconds": seconds, "rounds": rounds}
        write_json(json, "neighbours", settings, results)


def find(refused: float, latencies: dict[float, list[list[float]]]) -> Found:
    """Sum up the rounds of one rate."""
    p99s = [percentile(each, 99) for each in latencies[refused]]
    alone = [percentile(each, 99) for each in latencies[0.0]]
    return Found(
        refused_per_second=refused,
        p50_ms=Spread.of([1e3 * statistics.median(each) for each in latencies[refused]]),
        p99_ms=Spread.of([1e3 * each for each in p99s]),
        p99_ratio=Spread.of([each / without for each, without in zip(p99s, alone, strict=True)]),
    )


def take_round(broker: Broker, rate: float, refused: float, seconds: float, seed: int) -> list[float]:
    """The latencies of one round, in seconds."""
    with (
        fresh_queue(broker) as queue,
        serving(TARGET, broker.url, queue),
        refusing(broker, queue, refused, seed),
    ):
        return trio.run(partial(call_at_random, broker.url, queue, rate, seconds, seed))


@contextmanager
def refusing(broker: Broker, queue: str, rate: float, seed: int) -> Iterator[None]:
    """Send requests whose replies are refused, in a thread, until this is left."""
    full, over = broker.fresh_name("full"), threading.Event()

    def send() -> None:
        dice = random.Random(seed)  # noqa: S311 - not a secret
        with broker.channel() as channel:
            channel.queue_declare(full, arguments=REFUSES)
            properties = pika.BasicProperties(reply_to=full)
            while rate and not over.wait(dice.expovariate(rate)):
                channel.basic_publish("", queue, BODY, properties)
            channel.queue_delete(full)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def call_at_random(
    url: str,
    queue: str,
    rate: float,
    seconds: float,
    seed: int,
    *,
    begin: Callable[[], None] = lambda: None,
) -> list[float]:
    """Call at random times; each latency counts from when its call was due. It begins after the warm-up."""
    dice = random.Random(-1 - seed)  # noqa: S311 - not a secret
    latencies: list[float] = []
    async with open_client(url) as client:

        async def call(due: float) -> None:
            await client.call(BODY, queue=queue)
            latencies.append(time.perf_counter() - due)

        for _ in range(WARM_UP):
            await call(time.perf_counter())
        latencies.clear()
        begin()
        async with trio.open_nursery() as nursery:
            due = time.perf_counter()
            end = due + seconds
            while due < end:
                await trio.sleep(max(0.0, due - time.perf_counter()))
                nursery.start_soon(call, due)
                due += dice.expovariate(rate)
    return latencies


if __name__ == "__main__":
    cyclopts.run(main)
