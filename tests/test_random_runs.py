"""Whatever comes together: no request is lost, none is answered undelivered, none is mixed up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, FixedPolicy, MemoryBroker
from rpcb_trio.batching import Policy
from rpcb_trio.errors import DrainTimeout
from tests.journal import Journal, check_books
from tests.scenarios import QUEUE, Shouting, ask, steady, working


class Arrival(NamedTuple):
    """A request: when it comes, and how it fares."""

    at: float
    kind: Literal["good", "brief", "sick", "poison", "mute", "undecodable"]

    def body(self, number: int) -> bytes:
        return b"\xff %d" % number if self.kind == "undecodable" else f"{self.kind} {number}".encode()


class Life(NamedTuple):
    """One worker: when it is started, how it is set, and how it ends."""

    at: float
    seconds: float
    ends_by: Literal["drain", "cancel"]
    drain_timeout: float
    executors: int
    max_batch_size: int
    max_wait: float | None
    """Of a fixed policy; None for the one that learns."""
    spare_prefetch: int
    service_time: float
    expired: Literal["answer", "drop"]
    latency_objective: float | None
    spare_pending: int | None
    """How many more may wait than fill a batch; None for as many as come."""

    @property
    def policy(self) -> Policy:
        if self.max_wait is None:
            return AutoPolicy(self.max_batch_size, latency_objective=self.latency_objective)
        return FixedPolicy(self.max_batch_size, self.max_wait)

    @property
    def max_pending(self) -> int | None:
        return None if self.spare_pending is None else self.max_batch_size + self.spare_pending

    @property
    def prefetch(self) -> int | None:
        least = self.max_batch_size * (self.executors + 1)
        return None if self.spare_pending is not None else least + self.spare_prefetch


class Plan(NamedTuple):
    """What happens in one run."""

    arrivals: list[Arrival]
    lives: list[Life]
    disconnects: list[float]


quarters = st.integers(0, 40).map(lambda each: each / 4)
arrivals = st.builds(
    Arrival,
    quarters,
    st.sampled_from(["good", "good", "good", "brief", "sick", "poison", "mute", "undecodable"]),
)
lives = st.builds(
    Life,
    at=quarters,
    seconds=quarters,
    ends_by=st.sampled_from(["drain", "cancel"]),
    drain_timeout=st.sampled_from([0.5, 30.0]),
    executors=st.integers(1, 3),
    max_batch_size=st.integers(1, 5),
    max_wait=st.sampled_from([0.0, 0.25, 2.0, None, None]),
    latency_objective=st.sampled_from([None, 0.5, 3.0]),
    spare_prefetch=st.integers(0, 5),
    service_time=st.sampled_from([0.0, 0.25, 1.5]),
    expired=st.sampled_from(["answer", "drop"]),
    spare_pending=st.sampled_from([None, 0, 1, 3]),
)
plans = st.builds(
    Plan,
    st.lists(arrivals, max_size=15),
    st.lists(lives, min_size=1, max_size=3),
    st.lists(quarters, max_size=3),
)

LAST = Life(20.0, 100.0, "drain", 30.0, 2, 4, 0.25, 0, 0.25, "answer", None, None)
"""A worker with time for everything that was left."""


async def work(life: Life, journal: Journal) -> None:
    await trio.sleep(life.at)
    with suppress(DrainTimeout):
        async with working(
            Shouting(),
            journal,
            service_time=lambda size: life.service_time * size,
            executors=life.executors,
            batching=life.policy,
            prefetch=life.prefetch,
            max_pending=life.max_pending,
            expired=life.expired,
            drain_timeout=life.drain_timeout,
            instruments=[journal],
        ) as running:
            await trio.sleep(life.seconds)
            if life.ends_by == "cancel":
                running.cancel()


async def at(seconds: float, act: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    act()


def sending(broker: MemoryBroker, body: bytes) -> Callable[[], None]:
    return lambda: ask(broker, body, expiration=1.0 if body.startswith(b"brief") else None)


async def happen(plan: Plan, broker: MemoryBroker, journals: list[Journal], bodies: list[bytes]) -> None:
    async with trio.open_nursery() as nursery:
        for arrival, body in zip(plan.arrivals, bodies, strict=True):
            nursery.start_soon(at, arrival.at, sending(broker, body))
        for when in plan.disconnects:
            nursery.start_soon(at, when, broker.disconnect)
        for life, journal in zip(plan.lives, journals, strict=True):
            nursery.start_soon(work, life, journal)


async def run(plan: Plan) -> int:
    """Let a plan happen, check the books, and tell how many requests were left in the queue."""
    broker = MemoryBroker()
    broker.declare(QUEUE)
    journals = [Journal(broker) for _ in plan.lives]
    bodies = [arrival.body(number) for number, arrival in enumerate(plan.arrivals)]
    await happen(plan, broker, journals, bodies)
    left = broker.depth(QUEUE)
    refusing = any(life.max_pending is not None for life in plan.lives)
    check_books(broker, journals, bodies, also=[b"failed:overloaded"] if refusing else [])
    return left


def virtually(plan: Plan) -> int:
    return trio.run(run, plan, clock=MockClock(autojump_threshold=0))


@settings(steady, max_examples=60)
@given(plans)
def test_every_request_is_answered_once_for_each_delivery_or_is_still_in_the_queue(plan: Plan) -> None:
    virtually(plan)


@settings(steady, max_examples=40)
@given(plans)
def test_whatever_happened_a_worker_that_lives_on_answers_all_that_was_left(plan: Plan) -> None:
    assert virtually(plan._replace(lives=[*plan.lives, LAST])) == 0
