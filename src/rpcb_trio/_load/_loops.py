"""Two ways to send: callers that await their replies, and arrivals that await nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from random import Random

import msgspec
import trio

from rpcb_trio._load._tally import Call, Tally


class Extent(msgspec.Struct, frozen=True):
    """How far a load goes after its warm-up: whichever comes first."""

    seconds: float = math.inf
    requests: float = math.inf

    def has(self, tally: Tally, at: float) -> bool:
        """Whether a request that is due `at` is still in it."""
        return at < tally.since + self.seconds and tally.requests < self.requests


async def closed_loop(
    call: Call, bodies: Iterator[bytes], extent: Extent, tally: Tally, *, callers: int
) -> None:
    """Let callers send, each its next request when its last one is over.

    A slow service slows them, so what they see is the latency of so many callers and no more.
    """

    async def run_one() -> None:
        while extent.has(tally, now := trio.current_time()):
            tally.due(now)
            await tally.follow(call, next(bodies), now)

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(run_one)


async def open_loop(
    call: Call,
    bodies: Iterator[bytes],
    extent: Extent,
    tally: Tally,
    *,
    rate: float,
    dice: Random,
    most_in_flight: int,
) -> None:
    """Send `rate` requests per second at random times (Poisson), whatever becomes of them; await them all.

    With `most_in_flight` unanswered, those that are due are not sent, and counted so.
    """
    arrivals = _arrivals(rate, trio.current_time(), tally.since, extent.seconds, dice)
    async with trio.open_nursery() as nursery:
        while extent.has(tally, at := next(arrivals, math.inf)):
            await trio.sleep_until(at)
            if len(nursery.child_tasks) < most_in_flight:
                tally.due(at)
                nursery.start_soon(tally.follow, call, next(bodies), at)
            else:
                tally.not_sent(at)


def _arrivals(rate: float, start: float, since: float, seconds: float, dice: Random) -> Iterator[float]:
    """Times of a Poisson process from `start` on, which may begin again at `since` as it has no memory.

    Where it ends `seconds` after that, it has exactly as many as its rate says: else a short load's own rate
    would be another by chance. Given how many, the times are uniform. Bentley and Saxe, "Generating sorted
    lists of random numbers", ACM TOMS 6 (1980), draw such in their order.
    """
    yield from itertools.takewhile(lambda at: at < since, _endless_arrivals(rate, start, dice))
    if seconds == math.inf:
        yield from _endless_arrivals(rate, since, dice)
    at, end = since, since + seconds
    for left in range(max(1, round(rate * seconds)), 0, -1):
        yield (at := end - (end - at) * dice.random() ** (1 / left))


def _endless_arrivals(rate: float, at: float, dice: Random) -> Iterator[float]:
    while True:
        yield (at := at + dice.expovariate(rate))
