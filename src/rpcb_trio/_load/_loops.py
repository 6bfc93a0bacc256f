"""Two ways to send: callers that await their replies, and arrivals that await nothing."""

from __future__ import annotations

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
    at = trio.current_time()
    async with trio.open_nursery() as nursery:
        while extent.has(tally, at := at + dice.expovariate(rate)):
            await trio.sleep_until(at)
            if len(nursery.child_tasks) < most_in_flight:
                tally.due(at)
                nursery.start_soon(tally.follow, call, next(bodies), at)
            else:
                tally.not_sent(at)
