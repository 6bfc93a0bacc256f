"""The devices and their callers: service laws, and seeded arrivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from random import Random

import msgspec

from rpcb_trio.simulation import Arrival, Law, linear, poisson

ON_SHARE = 1 / 3
"""Of the time, how much bursts take: in them the rate is three times the mean, and else nothing comes."""
BURST = 20
"""How many service times of one request a burst lasts; the mean."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A simulated accelerator: a batch of b takes `fixed_ms + per_item_ms * b`."""

    fixed_ms: float
    per_item_ms: float
    max_batch_size: int
    waits_ms: tuple[float, ...]
    """That somebody might set by hand."""

    @property
    def name(self) -> str:
        each = "" if self.per_item_ms == 1 else f"{self.per_item_ms:g}"
        return f"{self.fixed_ms:g}+{each}b"

    @property
    def law(self) -> Law:
        return linear(self.fixed_ms / 1e3, self.per_item_ms / 1e3)

    def seconds(self, size: int) -> float:
        """What a batch takes, for the bounds."""
        return self.fixed_ms / 1e3 + self.per_item_ms / 1e3 * size

    @property
    def longest(self) -> float:
        return self.seconds(self.max_batch_size)

    @property
    def capacity(self) -> float:
        """Requests per second in full batches; a load of 1."""
        return self.max_batch_size / self.longest


SLOW = Device(fixed_ms=150, per_item_ms=25, max_batch_size=12, waits_ms=(5, 10, 50, 100))
MIDDLE = Device(fixed_ms=20, per_item_ms=1, max_batch_size=32, waits_ms=(5, 10, 50, 100))
FAST = Device(fixed_ms=2, per_item_ms=0.2, max_batch_size=32, waits_ms=(0.5, 1, 5, 10))
DEVICES = (SLOW, MIDDLE, FAST)
RECOGNISER = Device(fixed_ms=20, per_item_ms=10, max_batch_size=32, waits_ms=())
"""Its item is a padded second of audio."""


def first_of_poisson(chance: Random, rate: float, requests: int) -> list[float]:
    """The first arrivals of a Poisson process, `rate` per second."""
    return list(islice(poisson(rate, chance), requests))


def bursty(chance: Random, rate: float, requests: int, burst: float) -> list[float]:
    """Arrivals that come in bursts of `burst` seconds; `rate` per second, pauses included.

    An interrupted Poisson process: bursts and the pauses between them are exponential (Kuczura, The
    interrupted Poisson process as an overflow process, Bell System Tech. J. 52, 1973).
    """
    pause = burst * (1 / ON_SHARE - 1)
    at, end, arrivals = 0.0, chance.expovariate(1 / burst), list[float]()
    while len(arrivals) < requests:
        at += chance.expovariate(rate / ON_SHARE)
        while at > end:  # it has no memory: drawn anew after the pause
            start = end + chance.expovariate(1 / pause)
            end = start + chance.expovariate(1 / burst)
            at = start + chance.expovariate(rate / ON_SHARE)
        arrivals.append(at)
    return arrivals


def exponential(chance: Random, mean: float) -> Callable[[], float]:
    return lambda: chance.expovariate(1 / mean)


class Backlog:
    """As many requests as the prefetch are always pending, until the costs come to an end."""

    def __init__(self, depth: int, costs: Sequence[float]) -> None:
        self._depth = depth
        self._costs = costs
        self._sent = 0

    def first(self) -> list[Arrival]:
        """All that the prefetch lets in."""
        self._sent = min(self._depth, len(self._costs))
        return [Arrival(0.0, cost=cost) for cost in self._costs[: self._sent]]

    def answered(self, arrival: Arrival, now: float) -> list[Arrival]:  # noqa: ARG002 - any load's
        if self._sent == len(self._costs):
            return []
        self._sent += 1
        return [Arrival(now, cost=self._costs[self._sent - 1])]
