"""`python -m benches.shares`: what one tenant that floods costs another, with shares and without.

A quiet tenant calls at random times, beside a loud one that sends no more than its half, and then many times
what can be served. First in simulation, then through a broker to the worker's own command, by turns.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product, takewhile
from pathlib import Path
from typing import Final, TypeAlias

import cyclopts
import msgspec
import pika  # type: ignore[import-untyped] # it carries no types
import trio

from benches.broker import broker_at, fresh_queue
from benches.command import serving
from benches.neighbours import call_at_random
from benches.report import Spread, percentile, print_table, progress, write_json
from benches.servers.job import HEAVY
from rpcb_trio import AutoPolicy
from rpcb_trio.batching import Shares
from rpcb_trio.simulation import Arrival, Mixed, OpenLoad, linear, poisson, simulate
from tests.rabbitmq import Broker

FIXED_SECONDS, ITEM_SECONDS = HEAVY
TARGET: Final = "benches.servers.job:heavy"
LARGEST: Final = 32
CAPACITY: Final = LARGEST / (FIXED_SECONDS + LARGEST * ITEM_SECONDS)
"""Requests a second, in full batches."""
QUIET: Final = 0.4
"""Of the capacity."""
HALF: Final = 0.5
"""What the loud one sends before it floods."""
MAX_PENDING: Final = 8 * LARGEST
BODY = b"#" * 64
BURST_SECONDS: Final = 0.005
FORGETFUL: Final = {"x-max-length": 1}
"""A reply queue that nobody reads."""

Loads: TypeAlias = tuple[float, ...]
P99s: TypeAlias = dict[tuple[float, bool], list[float]]
"""The quiet one's, in milliseconds, by the loud one's load and whether there are shares."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The quiet tenant's p99 in milliseconds, beside a loud one with such a load (1 is the capacity)."""

    where: str
    load: float
    alone: Spread
    """Without shares."""
    shared: Spread
    ratio: Spread
    """With shares, to that beside a neighbour that sends no more than its half."""


def main(
    *,
    load: Loads = (0.0, 0.5, 2.0, 10.0),
    broker_load: Loads | None = (0.0, 0.5, 2.0),
    seconds: float = 10.0,
    rounds: int = 3,
    url: str | None = None,
    json: Path | None = None,
) -> None:
    """Measure it.

    Args:
        load: what the loud one sends in simulation, as a part of the capacity.
        broker_load: the same through the broker; the processes of both sides must stand it. None to leave it
            out.
        seconds: of each round.
        rounds: of each load.
        url: of the broker; without it a private node is started.
        json: a file for all figures.
    """
    simulated = kinds(load)
    for (each, shares), p99s in simulated.items():
        p99s += [simulated_p99(each, seconds, number, shares=shares) for number in range(rounds)]
    results = find("simulation", simulated)
    if broker_load is not None:
        measured = kinds(broker_load)
        with broker_at(url) as broker, progress() as bar:
            task = bar.add_task("rounds", total=rounds * len(measured))
            for number, ((each, shares), p99s) in product(range(rounds), measured.items()):
                p99s.append(measured_p99(broker, each, seconds, number, shares=shares))
                bar.advance(task)
        results += find("RabbitMQ", measured)
    print_table(
        f"p99 of a tenant with {QUIET:g} of the capacity ({CAPACITY:.0f}/s), beside another",
        "milliseconds; the median of the rounds, the lowest and the highest below it",
        ["the other sends", "without shares", "with shares", f"ratio to {HALF:g}"],
        [
            [f"{each.load:g}, {each.where}", each.alone.text(), each.shared.text(), each.ratio.text(2)]
            for each in results
        ],
    )
    if json is not None:
        settings = {"load": load, "broker_load": broker_load, "seconds": seconds, "rounds": rounds}
        write_json(json, "shares", settings, results)


def kinds(loads: Loads) -> P99s:
    """What is to be measured, by turns."""
    return {(load, shares): [] for load in sorted({HALF, *loads}) for shares in (False, True)}


def find(where: str, p99s: P99s) -> list[Found]:
    """Sum up the rounds of each load."""
    fair = p99s[HALF, True]
    return [
        Found(
            where=where,
            load=load,
            alone=Spread.of(p99s[load, False]),
            shared=Spread.of(shared),
            ratio=Spread.of([each / before for each, before in zip(shared, fair, strict=True)]),
        )
        for (load, is_shared), shared in p99s.items()
        if is_shared
    ]


def simulated_p99(load: float, seconds: float, seed: int, *, shares: bool) -> float:
    """The quiet one's p99 in virtual time, in milliseconds."""

    def sender(name: str, part: float) -> OpenLoad:
        dice = random.Random(f"{name} {seed}")  # noqa: S311 - not a secret
        times = takewhile(lambda at: at < seconds, poisson(part * CAPACITY, dice)) if part else ()
        return OpenLoad([Arrival(at, caller=name) for at in times])

    found = simulate(
        AutoPolicy(LARGEST),
        Mixed([sender("quiet", QUIET), sender("loud", load)]),
        linear(FIXED_SECONDS, ITEM_SECONDS),
        shares=Shares() if shares else None,
        max_pending=MAX_PENDING if shares else None,
    )
    latencies = [each.latency for each in found.requests if each.arrival.caller == "quiet"]
    return 1e3 * percentile(latencies, 99)


def measured_p99(broker: Broker, load: float, seconds: float, seed: int, *, shares: bool) -> float:
    """The quiet one's p99 through the broker, in milliseconds."""
    settings = {"tenant": "reply-to"} if shares else {}
    with (
        fresh_queue(broker) as queue,
        serving(TARGET, broker.url, queue, **settings),
        flooding(broker, queue, load * CAPACITY) as begin,
    ):
        rate = QUIET * CAPACITY
        call = partial(call_at_random, broker.url, queue, rate, seconds, seed, begin=begin)
        return 1e3 * percentile(trio.run(call), 99)


@contextmanager
def flooding(broker: Broker, queue: str, rate: float) -> Iterator[Callable[[], None]]:
    """Send so many requests a second, in a thread, until this is left; nobody reads the replies.

    It begins when what is yielded is called.
    """
    answers, begun, over = broker.fresh_name("unread"), threading.Event(), threading.Event()

    def send() -> None:
        with broker.channel() as channel:
            channel.queue_declare(answers, arguments=FORGETFUL)
            properties = pika.BasicProperties(reply_to=answers)
            begun.wait()
            begin, sent = time.monotonic(), 0
            while not over.wait(BURST_SECONDS):
                due = int(rate * (time.monotonic() - begin))
                for _ in range(due - sent):
                    channel.basic_publish("", queue, BODY, properties)
                sent = due
                channel.connection.process_data_events(0)
            channel.queue_delete(answers)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield begun.set
    finally:
        over.set()
        begun.set()
        thread.join()


if __name__ == "__main__":
    cyclopts.run(main)
