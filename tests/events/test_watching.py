"""What those see who watch events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from rpcb_trio import FixedPolicy, MemoryBroker
from rpcb_trio._events import AnyEvent
from rpcb_trio._messages import Notice
from rpcb_trio.events import BatchEvent, EventWatch, StateEvent, watch_events
from tests.events.watching import EXCHANGE, seeing, state, telling
from tests.scenarios import Shouting, answers, ask, steady


async def test_a_watcher_that_is_too_slow_misses_some_events_and_sees_the_others_in_order(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with watch_events(broker, EXCHANGE) as watch:
        async with telling(Shouting(), broker, batching=FixedPolicy(1)):
            for _ in range(8):
                ask(broker, *(b"good %d" % number for number in range(400)))
                await trio.sleep(1)
                assert len(answers(broker)) == 400
        with trio.move_on_after(1):
            ids = [event.id async for event in until_quiet(watch) if isinstance(event, BatchEvent)]
    assert 0 < len(ids) < 3200
    assert ids == sorted(ids)


async def until_quiet(watch: EventWatch) -> AsyncIterator[AnyEvent]:
    events = aiter(watch)
    while True:
        with trio.move_on_after(0.5) as quiet:
            event = await anext(events)
        if quiet.cancelled_caught:
            return
        yield event


@steady
@example([b'{"event":"state","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
@given(st.lists(st.one_of(st.binary(), st.text().map(str.encode)), max_size=5))
def test_what_is_no_event_is_passed_over(noise: list[bytes]) -> None:
    async def main() -> None:
        broker = MemoryBroker()
        notices = [Notice(routing_key="x", body=body, expiration=1) for body in noise]
        async with seeing(broker) as seen, broker.open_publisher(EXCHANGE) as publisher:
            body = msgspec.json.encode(state(1))
            await publisher.publish([*notices, Notice(routing_key="x", body=body, expiration=1)])
            assert await seen.until(StateEvent) == [state(1)]

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_watch_may_be_left_while_events_come(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    body = msgspec.json.encode(state(1))
    async with broker.open_publisher(EXCHANGE) as publisher:
        for turns in range(20):
            async with watch_events(broker, EXCHANGE) as watch:
                await publisher.publish([Notice(routing_key="x", body=body, expiration=1)] * 50)
                async for _ in watch:
                    break
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()


async def test_a_watch_that_is_lost_is_opened_again_and_knows_the_depth_of_queues(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    broker.declare("full")
    broker.publish(b"x", routing_key="full")
    async with watch_events(broker, EXCHANGE) as watch:
        assert await watch.depth("full") == 1
        assert await watch.depth("nowhere") is None
        broker.disconnect()
        await wait_all_tasks_blocked()
        assert not watch.is_connected
        assert await watch.depth("full") is None
        await trio.sleep(1)
        assert watch.is_connected
