"""Sending a load to a worker, and counting what becomes of its requests.

There are two ways to send: callers that await their replies, and arrivals that await nothing. To find the
highest rate that is good enough, one load is sent after the other.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import TypeAlias, TypeVar

import msgspec
import trio

from rpcb_trio._measure._latencies import Latencies
from rpcb_trio._messages import Reply
from rpcb_trio.errors import CallError
from rpcb_trio.simulation import poisson

BodyT = TypeVar("BodyT")

Call: TypeAlias = Callable[[BodyT], Awaitable[Reply]]

PERCENTILES = (50, 90, 95, 99, 99.9)
NOT_SENT = "not-sent"
BARS = 12
"""Of a histogram, at most."""
PRECISION = 1.05
"""The search for the highest rate ends when the lowest rate that failed is within this factor of it."""
LEAST = 1 / 1024
MOST = 1 << 20
"""The search leaves off at these multiples of the first rate."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A load in numbers. Times are in seconds, and infinite where there are none."""

    requests: int
    """That were due; each is answered, or an error, or was still awaited when the load was cut short."""
    answered: int
    errors: dict[str, int]
    """By kind: the code of an error reply, timeout, unroutable, refused, too-big, interrupted, not-sent."""
    seconds: float
    """From the end of the warm-up to the last reply."""
    answered_per_second: float
    mean: float
    percentiles: dict[str, float]
    """Of those that were answered."""
    max: float
    p99_of_all: float
    """With each error as one that is never answered."""
    worst_lag: float
    """By how much a request went out after its time: this program, or its machine, is too slow."""
    histogram: list[tuple[float, float, int]]
    """Latencies from, to, and how many."""

    @property
    def error_share(self) -> float:
        """Of all that were due."""
        return sum(self.errors.values()) / self.requests if self.requests else 0.0


class Tally:
    """Counts requests that are due after a warm-up; the others are sent too, and count for nothing.

    Latency runs from when a request was due, not from when it could be sent, so that a late sender can't
    hide it (the coordinated omission of Gil Tene, "How not to measure latency", 2015).
    """

    def __init__(self, since: float) -> None:
        self.since = since
        """The end of the warm-up, as `trio.current_time()`."""
        self.requests = 0
        self.in_flight = 0
        self.errors: Counter[str] = Counter()
        self.latencies = Latencies()
        self._until = since
        self._worst_lag = 0.0

    def due(self, at: float) -> None:
        """Count a request that is to be sent."""
        self.requests += at >= self.since

    def not_sent(self, at: float) -> None:
        """Count one that was due and could not be sent."""
        self.due(at)
        if at >= self.since:
            self.errors[NOT_SENT] += 1

    async def follow(self, call: Call[BodyT], body: BodyT, at: float) -> None:
        """Make a call that was due `at`, and await its end."""
        self.in_flight += 1
        lag = trio.current_time() - at
        try:
            error = (await call(body)).error
        except CallError as failure:
            error = failure.code
        finally:
            self.in_flight -= 1
        if at >= self.since:
            self._count(error, trio.current_time(), at, lag)

    def _count(self, error: str | None, now: float, at: float, lag: float) -> None:
        self._until = now
        self._worst_lag = max(self._worst_lag, lag)
        if error is None:
            self.latencies.add(now - at)
        else:
            self.errors[error] += 1

    def figures(self) -> Figures:
        """What is known so far."""
        found = self.latencies
        seconds = self._until - self.since
        return Figures(
            requests=self.requests,
            answered=found.count,
            errors=dict(self.errors.most_common()),
            seconds=seconds,
            answered_per_second=found.count / seconds if seconds else 0.0,
            mean=found.mean,
            percentiles={f"p{each}": found.percentile(each) for each in PERCENTILES},
            max=found.max,
            p99_of_all=found.percentile(99, never=self.errors.total()) if self.requests else math.inf,
            worst_lag=self._worst_lag,
            histogram=found.bars(BARS),
        )


class Extent(msgspec.Struct, frozen=True):
    """How long a load goes on after its warm-up: until the first of these is reached."""

    seconds: float = math.inf
    requests: float = math.inf

    def has(self, tally: Tally, at: float) -> bool:
        """Whether a request that is due `at` is still in it."""
        return at < tally.since + self.seconds and tally.requests < self.requests


async def send_closed(
    call: Call[BodyT], bodies: Iterator[BodyT], extent: Extent, tally: Tally, *, callers: int
) -> None:
    """Let callers send, each its next request when its last one is over.

    A slow service slows them down, so what they see is the latency of so many callers and no more.
    """

    async def run_one() -> None:
        while extent.has(tally, now := trio.current_time()):
            tally.due(now)
            await tally.follow(call, next(bodies), now)

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(run_one)


async def send_open(
    call: Call[BodyT],
    bodies: Iterator[BodyT],
    extent: Extent,
    tally: Tally,
    *,
    rate: float,
    dice: Random,
    most_in_flight: int,
) -> None:
    """Send `rate` requests per second at random times (Poisson), whatever becomes of them; await them all.

    While `most_in_flight` are unanswered, requests that are due are not sent, and counted so.
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
    yield from itertools.takewhile(lambda at: at < since, poisson(rate, dice, start))
    if seconds == math.inf:
        yield from poisson(rate, dice, since)
    at, end = since, since + seconds
    for left in range(max(1, round(rate * seconds)), 0, -1):
        yield (at := end - (end - at) * dice.random() ** (1 / left))


async def find_highest(meets: Callable[[float], Awaitable[bool]], first: float) -> float | None:
    """The highest rate that `meets`, or None if none does.

    Rates double from `first` until one fails, or halve until one does not; then the gap is halved (in ratio)
    until it is closed to `PRECISION`.
    """
    rate, factor = first, 2.0 if await meets(first) else 0.5
    good, bad = (first, None) if factor > 1 else (None, first)
    while (good is None or bad is None) and LEAST * first < rate < MOST * first:
        rate *= factor
        if await meets(rate):
            good = rate
        else:
            bad = rate
    if good is None or bad is None:
        return good
    while bad / good > PRECISION:
        middle = (good * bad) ** 0.5
        if await meets(middle):
            good = middle
        else:
            bad = middle
    return good
