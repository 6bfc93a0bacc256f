"""When callers send requests, and how long a device takes for a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Protocol, TypeAlias

import msgspec

from rpcb_trio._messages import NO_HEADERS, Pending, Request, Work

Law: TypeAlias = Callable[[Work], float]
"""The true service time of a batch, in seconds.

It is called as the batch starts, in virtual time: one that changes may read `trio.current_time()`, which
begins at 0.
"""


def linear(fixed: float, per_item: float) -> Law:
    """A batch of b takes `fixed + per_item * b` seconds."""
    return lambda work: fixed + per_item * work.size


def padded(fixed: float, per_cost: float) -> Law:
    """A batch takes `fixed` seconds, and `per_cost` for its size times the largest cost in it."""
    return lambda work: fixed + per_cost * work.padded


class Arrival(msgspec.Struct, frozen=True):
    """One request of a load. Times are in seconds since the simulation's start."""

    at: float
    """When it arrives, already decoded."""
    cost: float = 1.0
    """What `service.cost` would say."""
    priority: int = 0
    deadline: float | None = None
    """When it expires; None for never."""
    caller: str | None = None
    """Its `reply_to`."""
    tenant: str | None = None
    """What the header that `Shares.tenant` names says; where it is None, there is none."""


def pending_of(arrival: Arrival, at: float, tag: int, headers: Mapping[str, object] = NO_HEADERS) -> Pending:
    """A worker's request that arrives then, already decoded."""
    request = Request(
        body=b"",
        arrived=at,
        reply_to=arrival.caller,
        deadline=arrival.deadline,
        priority=arrival.priority,
        headers=headers,
        tag=tag,
    )
    return Pending(request, None, arrival.cost, ready=at)


class Load(Protocol):
    """Feeds requests to a simulation. What the methods return may be in any order, but not in the past."""

    def first(self) -> Iterable[Arrival]:
        """Begin anew: the arrivals that do not depend on any reply."""
        ...

    def answered(self, arrival: Arrival, now: float) -> Iterable[Arrival]:
        """What follows a reply, or an error reply, to one of this load's arrivals."""
        ...


class OpenLoad:
    """Arrivals that are known from the start, such as those of many callers that don't know of each other."""

    def __init__(self, arrivals: Iterable[Arrival]) -> None:
        self._arrivals = tuple(arrivals)

    def first(self) -> Sequence[Arrival]:
        """All of them."""
        return self._arrivals

    def answered(self, arrival: Arrival, now: float) -> Sequence[Arrival]:  # noqa: ARG002 - any load's
        """Nothing more."""
        return ()


def poisson(rate: float, dice: Random, start: float = 0.0) -> Iterator[float]:
    """The endless times of a Poisson process: arrivals of many independent callers, `rate` per second."""
    at = start
    while True:
        yield (at := at + dice.expovariate(rate))


class LockStep:
    """Callers that send their next request some time after the reply to their last.

    Args:
        callers: how many.
        think: seconds from a reply to the same caller's next request; asked for each of them, and for each
            caller's first, which is counted from the start.
        requests: how many in all.
        name: each caller's `reply_to` is this and its number.
        cost: the cost of the next request.
        until: no request follows a reply from this second on.
        tenant: whose requests they are.
    """

    def __init__(
        self,
        callers: int,
        think: Callable[[], float],
        requests: int,
        *,
        name: str = "caller",
        cost: Callable[[], float] = lambda: 1.0,
        until: float = math.inf,
        tenant: str | None = None,
    ) -> None:
        self._tenant = tenant
        self._names = [f"{name} {number}" for number in range(callers)]
        self._think = think
        self._requests = requests
        self._cost = cost
        self._until = until
        self._left = 0

    def first(self) -> list[Arrival]:
        """Each caller's first request."""
        names = self._names[: self._requests]
        self._left = self._requests - len(names)
        return [self._arrival(0.0, name) for name in names]

    def answered(self, arrival: Arrival, now: float) -> list[Arrival]:
        """The same caller's next request."""
        if not self._left or now >= self._until:
            return []
        self._left -= 1
        return [self._arrival(now, arrival.caller)]

    def _arrival(self, now: float, caller: str | None) -> Arrival:
        return Arrival(now + self._think(), cost=self._cost(), caller=caller, tenant=self._tenant)


class Mixed:
    """Several loads on one queue. Name lock-step callers differently, or they pass for the same."""

    def __init__(self, loads: Iterable[Load]) -> None:
        self._loads = tuple(loads)
        self._senders: dict[int, tuple[Load, Arrival]] = {}  # an arrival that is kept keeps its id

    def first(self) -> list[Arrival]:
        """The first of each load."""
        self._senders.clear()
        return [each for load in self._loads for each in self._sent(load, load.first())]

    def answered(self, arrival: Arrival, now: float) -> Sequence[Arrival]:
        """What the load that sent it sends next."""
        load, _ = self._senders.pop(id(arrival))
        return self._sent(load, load.answered(arrival, now))

    def _sent(self, load: Load, arrivals: Iterable[Arrival]) -> Sequence[Arrival]:
        sent = tuple(arrivals)
        self._senders.update((id(each), (load, each)) for each in sent)
        return sent
