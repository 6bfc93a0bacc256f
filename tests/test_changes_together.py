"""All that an operator and callers can do, at any time and in any order: swaps, settings, a drain, cancels.

And what befalls them: lost sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, MemoryBroker, Reply, Topology
from rpcb_trio.batching import Shares
from rpcb_trio.errors import SwapInterrupted, WarmUpFailed
from rpcb_trio.instruments import Settled
from tests.scenarios import ANSWERS, QUEUE, Running, ask, steady, taken, working
from tests.versions import Loaded, Tagged, all_by

SECONDS = 20.0
PLENTY = 1000.0
EXECUTORS = 2

times = st.floats(0, SECONDS)
waits = st.floats(0, SECONDS / 4)
swaps = st.lists(st.tuples(waits, waits, st.booleans(), st.booleans()), max_size=3)
"""When after the one before, how long it loads, whether the former is unloaded first, whether it fails."""
intakes = st.sampled_from(
    [
        {"prefetch_follows": True, "shares": None},
        {"prefetch_follows": False, "shares": None},
        {"prefetch_follows": False, "shares": Shares()},
    ]
)
changes = st.lists(st.tuples(waits, st.sampled_from([1, 2, 8]), intakes), max_size=4)


class Course(NamedTuple):
    """What happens to a worker, and when."""

    arrivals: Sequence[float]
    first: dict[str, Any]
    swaps: Sequence[tuple[float, float, bool, bool]]
    changes: Sequence[tuple[float, int, dict[str, Any]]]
    losses: Sequence[float]
    cancels: Sequence[tuple[float, int]]
    """When, and the number of which request, modulo how many there are."""
    drain: float | None


courses = st.builds(
    Course,
    arrivals=st.lists(times, min_size=1, max_size=30),
    first=intakes,
    swaps=swaps,
    changes=changes,
    losses=st.lists(times, max_size=2),
    cancels=st.lists(st.tuples(times, st.integers(0, 29)), max_size=15),
    drain=st.none() | times,
)


def executors_of(service: Tagged, loading: float = 0.0, failure: Exception | None = None) -> Sequence[Loaded]:
    return [
        Loaded(service, lambda size: 0.5 + 0.1 * size, loading=loading, failure=failure)
        for _ in range(EXECUTORS)
    ]


async def arrive(broker: MemoryBroker, number: int, at: float) -> None:
    await trio.sleep(at)
    ask(broker, b"r %d" % number)


async def lose(broker: MemoryBroker, at: float) -> None:
    await trio.sleep(at)
    broker.disconnect()


async def cancel(broker: MemoryBroker, number: int, at: float) -> None:
    await trio.sleep(at)
    broker.publish(
        b"", exchange="rpcb.cancel", routing_key=QUEUE, reply_to=ANSWERS, correlation_id=f"{number}"
    )


async def swap(running: Running, swaps: Sequence[tuple[float, float, bool, bool]]) -> None:
    for number, (pause, loading, unload_first, fails) in enumerate(swaps, start=1):
        await trio.sleep(pause)
        service = Tagged(f"{number}")
        executors = executors_of(service, loading, WarmUpFailed("no") if fails else None)
        with suppress(SwapInterrupted, WarmUpFailed):
            await running.worker.swap(service, executors=executors, unload_first=unload_first)


async def change(running: Running, changes: Sequence[tuple[float, int, dict[str, Any]]]) -> None:
    for pause, size, intake in changes:
        await trio.sleep(pause)
        await running.worker.change(batching=AutoPolicy(size), **intake)


def cancels_of(course: Course) -> Sequence[tuple[int, float]]:
    count = len(course.arrivals)
    return [(number % count, at) for at, number in course.cancels]


async def play(course: Course) -> tuple[Sequence[Reply], set[str | None]]:
    """All replies of a worker that takes this course, and the ids of the requests it has dropped."""
    broker, first, with_cancel = MemoryBroker(), Tagged("0"), Topology(queue=QUEUE, cancel=True)
    settings = {"executors": executors_of(first), "drain_timeout": PLENTY, **course.first}
    async with (
        working(first, broker, queue=with_cancel, batching=AutoPolicy(4), **settings) as running,
        trio.open_nursery() as nursery,
    ):
        for number, at in enumerate(course.arrivals):
            nursery.start_soon(arrive, broker, number, at)
        for at in course.losses:
            nursery.start_soon(lose, broker, at)
        for number, at in cancels_of(course):
            nursery.start_soon(cancel, broker, number, at)
        nursery.start_soon(swap, running, course.swaps)
        nursery.start_soon(change, running, course.changes)
        if course.drain is None:
            with trio.fail_after(PLENTY):
                await running.until_settled(len(course.arrivals))
        else:
            await trio.sleep(course.drain)
            running.worker.drain()
    settled = [answer.request.correlation_id for answer, _ in running.settled]
    assert len(set(settled)) == len(settled), "each request is settled once"
    if course.drain is None:  # a session that is lost in a drain is not opened again
        assert running.worker.held == 0
    dropped = {each.request.correlation_id for each, ending in running.settled if ending is Settled.DROPPED}
    return list(taken(broker)), dropped


@settings(steady, max_examples=150)
@given(courses)
def test_whatever_changes_at_once_each_request_is_answered_once_and_by_one_version_or_was_cancelled(
    course: Course,
) -> None:
    replies, dropped = trio.run(play, course, clock=MockClock(autojump_threshold=0))
    answered = [reply.correlation_id for reply in replies]
    assert len(set(answered)) == len(answered)
    assert len({*answered} | dropped) == len(course.arrivals) or course.drain is not None
    assert not dropped & {*answered}
    assert dropped <= {f"{number}" for number, _ in cancels_of(course)}
    waiting = [8 * size for _, size, intake in course.changes if intake["shares"]]  # so many may wait
    is_crowded = len(course.arrivals) > min(waiting, default=len(course.arrivals))
    for reply in replies:
        if is_crowded and reply.error == "overloaded":
            continue
        assert reply.body == all_by(f"{reply.headers['rpcb-model-version']}", f"r {reply.correlation_id}")
