"""`python -m benches.cache`: what a cache saves where few requests are frequent; without a broker.

In virtual time, requests arrive at random. The n-th most frequent body comes in proportion to 1/n^s (Zipf's
law). Each load is served twice by the worker's own pipeline: without a cache, and with one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import cyclopts
import msgspec
import trio
from trio.testing import MockClock

from benches.report import percentile, print_table, progress, write_json
from benches.servers.job import HEAVY
from rpcb_trio import AutoPolicy, Cache, MemoryBroker, open_worker
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.testing import Recorder, VirtualExecutor, in_place

FIXED_SECONDS, ITEM_SECONDS = HEAVY
LARGEST: Final = 32
CAPACITY: Final = LARGEST / (FIXED_SECONDS + LARGEST * ITEM_SECONDS)
"""Requests a second, in full batches."""
QUEUE, REPLIES = "work", "replies"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One load, served in one way. Latencies are in milliseconds."""

    exponent: float
    cached: bool
    requests: int
    computed: int
    busy: float
    """The part of the time that the executor computes."""
    p50: float
    p99: float


class Timed(Recorder):
    """Keeps how long each request took, in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.latencies: list[float] = []

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        super().requests_settled(answers, settled)
        now = trio.current_time()
        self.latencies += [1e3 * (now - answer.request.arrived) for answer in answers]


def main(
    *,
    exponent: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2),
    bodies: int = 10_000,
    load: float = 0.8,
    seconds: float = 60.0,
    ttl: float = 60.0,
    max_bytes: int = 4 * 2**20,
    json: Path | None = None,
) -> None:
    """Measure it.

    Args:
        exponent: the law's s, one for each load; 0 for bodies that are all as frequent.
        bodies: how many there are.
        load: how much is sent, as a part of the capacity.
        seconds: how long, in virtual time.
        ttl: of the cache, in seconds.
        max_bytes: of the cache.
        json: a file for all figures.
    """
    results = list[Found]()
    with progress() as bar:
        for each in bar.track([(s, cache) for s in exponent for cache in (None, Cache(ttl, max_bytes))]):
            clock = MockClock(autojump_threshold=0)
            results.append(trio.run(serve_load, *each, bodies, load * CAPACITY, seconds, clock=clock))
    print_table(
        f"{load:g} of the capacity ({CAPACITY:.0f}/s), {bodies} bodies by Zipf's law",
        "latencies in milliseconds, from the delivery until the reply is confirmed",
        ["exponent, cache", "computed", "executor busy", "p50", "p99"],
        [
            [
                f"{each.exponent:g}, {'cached' if each.cached else 'none'}",
                f"{each.computed / each.requests:.0%}",
                f"{each.busy:.0%}",
                f"{each.p50:.0f}",
                f"{each.p99:.0f}",
            ]
            for each in results
        ],
    )
    if json is not None:
        settings = {"bodies": bodies, "load": load, "seconds": seconds, "ttl": ttl, "max_bytes": max_bytes}
        write_json(json, "cache", settings, results)


async def serve_load(exponent: float, cache: Cache | None, bodies: int, rate: float, seconds: float) -> Found:
    """Serve one load in one way, and drain."""
    broker, seen = MemoryBroker(), Timed()
    broker.declare(QUEUE)
    broker.declare(REPLIES)
    executor = VirtualExecutor(_echo, lambda size: FIXED_SECONDS + size * ITEM_SECONDS)
    async with open_worker(
        _echo,
        broker,
        QUEUE,
        batching=AutoPolicy(LARGEST),
        prefetch=1000,
        executors=[executor],
        offload=in_place,
        cache=cache,
        drain_timeout=1e6,
        instruments=[seen],
    ):
        dice = random.Random(f"{exponent}")  # noqa: S311 - not a secret
        law = [*accumulate((n + 1) ** -exponent for n in range(bodies))]
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            await trio.sleep(dice.expovariate(rate))
            [body] = dice.choices(range(bodies), cum_weights=law)
            broker.publish(b"body %d" % body, routing_key=QUEUE, reply_to=REPLIES, correlation_id="1")
    return Found(
        exponent=exponent,
        cached=cache is not None,
        requests=len(seen.settled),
        computed=sum(batch.size for batch in seen.batches),
        busy=sum(seen.service_times) / seconds,
        p50=percentile(seen.latencies, 50),
        p99=percentile(seen.latencies, 99),
    )


def _echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


if __name__ == "__main__":
    cyclopts.run(main)
