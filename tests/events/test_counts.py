"""What a worker tells of what it holds is true, whatever becomes of its requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, Cache, FixedPolicy, MemoryBroker, Reply, Request, Topology
from rpcb_trio.batching import Batch, Pending, Trigger
from rpcb_trio.events import BatchEvent, EventInstrument, StateEvent
from rpcb_trio.instruments import Answer, Settled, Setup
from tests.scenarios import ANSWERS, QUEUE, Shouting, ask, steady, working

KINDS = ["good", "brief", "sick", "poison", "mute", "undecodable", "big", "anonymous", "gone", "again"]


class Arrival(NamedTuple):
    """A request: when it comes, and how it fares."""

    at: float
    kind: str

    def send(self, broker: MemoryBroker, number: int) -> None:
        body = {
            "undecodable": b"\xff %d" % number,
            "big": b"good " + b"x" * 100,
            "again": b"good 0",
        }.get(self.kind, f"{self.kind} {number}".encode())
        reply_to = {"anonymous": None, "gone": "amq.rabbitmq.reply-to.gone"}.get(self.kind, ANSWERS)
        ask(broker, body, reply_to=reply_to, expiration=1.0 if self.kind == "brief" else None)


class Plan(NamedTuple):
    """What happens to a worker, and how it is set."""

    arrivals: list[Arrival]
    disconnects: list[float]
    cancels: list[tuple[float, int]]
    """When, and of the request of which number."""
    alarms: list[float]
    executors: int
    max_batch_size: int
    learns: bool
    service_time: float
    expired: Literal["answer", "drop"]
    no_reply_to: Literal["run", "dead-letter"]
    remember_replies: int
    shares_replies: bool
    refuses: bool
    check_caller: bool


quarters = st.integers(0, 20).map(lambda each: each / 4)
plans = st.builds(
    Plan,
    arrivals=st.lists(st.builds(Arrival, quarters, st.sampled_from(KINDS)), max_size=20),
    disconnects=st.lists(quarters, max_size=2),
    cancels=st.lists(st.tuples(quarters, st.integers(0, 20)), max_size=6),
    alarms=st.lists(quarters, max_size=1),
    executors=st.integers(1, 2),
    max_batch_size=st.integers(1, 4),
    learns=st.booleans(),
    service_time=st.sampled_from([0.0, 0.25, 1.5]),
    expired=st.sampled_from(["answer", "drop"]),
    no_reply_to=st.sampled_from(["run", "dead-letter"]),
    remember_replies=st.sampled_from([0, 9]),
    shares_replies=st.booleans(),
    refuses=st.booleans(),
    check_caller=st.booleans(),
)


async def at(seconds: float, act: Callable[[], object]) -> None:
    await trio.sleep(seconds)
    act()


async def states_of(events: EventInstrument) -> list[StateEvent]:
    return [each for each in await events.buffer.take() if isinstance(each, StateEvent)]


async def check_often(events: EventInstrument, prefetch: int) -> None:
    """At any time it waits who is held, and no more are held than may be."""
    for _ in range(40):
        events.put_state()
        for state in await states_of(events):
            assert 0 <= state.waiting <= state.held <= prefetch
        await trio.sleep(0.23)


def cancel(broker: MemoryBroker, number: int) -> None:
    name = f"{number}"
    broker.publish(b"", exchange="rpcb.cancel", routing_key=QUEUE, reply_to=ANSWERS, correlation_id=name)


async def happen(plan: Plan, broker: MemoryBroker) -> None:
    async with trio.open_nursery() as nursery:
        for number, arrival in enumerate(plan.arrivals):
            nursery.start_soon(at, arrival.at, lambda arrival=arrival, n=number: arrival.send(broker, n))
        for when, number in plan.cancels:
            nursery.start_soon(at, when, partial(cancel, broker, number))
        for when in plan.disconnects:
            nursery.start_soon(at, when, broker.disconnect)
        for when in plan.alarms:
            nursery.start_soon(at, when, lambda: broker.block("low on memory"))
            nursery.start_soon(at, when + 1, broker.unblock)


async def follow(plan: Plan) -> StateEvent:
    """Let a plan happen; what a worker tells when it has nothing left to do."""
    broker, events = MemoryBroker(), EventInstrument(buffer=999)
    policy = AutoPolicy(plan.max_batch_size) if plan.learns else FixedPolicy(plan.max_batch_size, 0.5)
    broker.declare(QUEUE)
    prefetch = plan.max_batch_size * (plan.executors + 2)
    async with (
        trio.open_nursery() as nursery,
        working(
            Shouting(),
            broker,
            queue=Topology(queue=QUEUE, dead_letter_exchange="dead", cancel=True),
            service_time=lambda size: plan.service_time * size,
            executors=plan.executors,
            batching=policy,
            prefetch=prefetch,
            max_pending=plan.max_batch_size if plan.refuses else None,
            max_body_size=90,
            expired=plan.expired,
            no_reply_to=plan.no_reply_to,
            remember_replies=plan.remember_replies,
            cache=Cache(2) if plan.shares_replies else None,
            check_caller=plan.check_caller,
            instruments=[events],
        ) as running,
    ):
        nursery.start_soon(check_often, events, prefetch)
        await happen(plan, broker)
        await trio.sleep(1000)
        events.put_state()
        [*_, idle] = await states_of(events)
        assert running.worker.held == broker.depth(QUEUE) == 0
        return idle
    raise AssertionError


@settings(steady, max_examples=150)
@given(plans)
def test_a_worker_with_nothing_to_do_says_that_nothing_waits_and_nothing_is_held(plan: Plan) -> None:
    idle = trio.run(follow, plan, clock=MockClock(autojump_threshold=0))
    assert (idle.waiting, idle.held) == (0, 0)
    if not plan.disconnects:
        assert idle.received == idle.answered + idle.failed + idle.cancelled


def computing(events: EventInstrument, requests: list[Request]) -> None:
    """Have a worker take these as one batch, and compute it."""
    batch = Batch(id=1, members=tuple(map(Pending, requests, b"abc")), trigger=Trigger.SIZE, closed=0.0)
    events.worker_starting(
        Setup(queue=QUEUE, policy="FixedPolicy", max_batch_size=3, max_pending=None, prefetch=6, executors=1)
    )
    events.requests_received(requests)
    events.batch_closed(batch)
    events.batch_computed(batch, 0.1, [])


def answers_to(requests: list[Request]) -> list[Answer]:
    return [Answer(request, Reply(body=b"")) for request in requests]


async def test_what_is_handed_back_to_the_broker_is_held_no_more_and_is_neither_answered_nor_failed(
    autojump_clock: MockClock,
) -> None:
    events, requests = EventInstrument(), [Request(body=b"", arrived=0.0) for _ in range(3)]
    computing(events, requests)
    answers = answers_to(requests)
    events.requests_settled(answers, [Settled.REPLIED, Settled.REQUEUED, Settled.REJECTED])
    events.put_state()
    [*_, last] = await states_of(events)
    assert (last.held, last.received, last.answered, last.failed) == (0, 3, 1, 1)


async def test_a_batch_whose_requests_are_settled_in_parts_is_one_event_once_all_are_settled(
    autojump_clock: MockClock,
) -> None:
    events, requests = EventInstrument(), [Request(body=b"", arrived=0.0) for _ in range(3)]
    computing(events, requests)
    first, *others = answers_to(requests)
    events.requests_settled(others, [Settled.REPLIED, Settled.REPLIED])
    await trio.sleep(3)
    events.put_state()
    assert not [each for each in await events.buffer.take() if isinstance(each, BatchEvent)]
    events.requests_settled([first], [Settled.REJECTED])
    [batch] = [each for each in await events.buffer.take() if isinstance(each, BatchEvent)]
    assert (batch.size, batch.failed, batch.total_ms) == (3, 1, 3000)
