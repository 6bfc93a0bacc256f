"""In virtual time: a request that comes again is answered again without computing, and only that one."""

from __future__ import annotations

from itertools import count

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, Reply, Request
from rpcb_trio._messages import Answer
from rpcb_trio._pipeline._kept import LONG_BODY
from rpcb_trio._pipeline._remembered import RememberedReplies
from rpcb_trio.testing import in_place
from tests.scenarios import QUEUE, Shouting, ask, steady, taken, working


def computed(service: Shouting) -> list[str]:
    return [item for run in service.runs for item in run]


async def test_a_repeated_request_gets_its_reply_again_without_being_computed(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, remember_replies=10, batch_headers=True) as running:
        ask(broker, b"good 1")
        await running.until_settled(1)
        ask(broker, b"good 1", b"good 2")
        await running.until_settled(3)
    first, again, other = sorted(taken(broker), key=lambda reply: reply.correlation_id or "")
    assert first == again
    assert (again.body, other.body) == (b"ok:GOOD 1", b"ok:GOOD 2")
    assert computed(service) == ["good 1", "good 2"]
    assert [request.correlation_id for request in running.repeated] == ["1"]


async def test_a_request_whose_session_was_lost_before_its_ack_is_answered_from_memory(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Shouting()
    ask(broker, b"good 1")
    broker.block("so that the session is lost while the reply waits")
    async with working(service, broker, remember_replies=10) as running:
        await trio.sleep(1)
        broker.disconnect()
        broker.unblock()
        await running.until_settled(1)
    assert [reply.body for reply in taken(broker)] == [b"ok:GOOD 1"]
    assert computed(service) == ["good 1"]


async def test_a_client_that_counts_its_ids_from_one_again_never_gets_another_ones_answer(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, remember_replies=10) as running:
        for n, body in enumerate((b"good night 1", b"good day 1", b"good night 1"), start=1):
            ask(broker, body)
            await running.until_settled(n)
    assert [reply.body for reply in taken(broker)] == [
        b"ok:GOOD NIGHT 1",
        b"ok:GOOD DAY 1",
        b"ok:GOOD NIGHT 1",
    ]
    assert computed(service) == ["good night 1", "good day 1"]


@pytest.mark.parametrize(("remember_replies", "runs"), [(10, 1), (0, 2)])
async def test_nothing_is_remembered_unless_it_is_set(
    remember_replies: int, runs: int, autojump_clock: MockClock
) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, remember_replies=remember_replies) as running:
        for n in (1, 2):
            ask(broker, b"good 1")
            await running.until_settled(n)
    assert len(computed(service)) == runs


async def test_what_the_service_or_the_hour_was_to_blame_for_is_tried_again_and_a_bad_request_is_not(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=FixedPolicy(1), remember_replies=10) as running:
        for _ in range(2):
            ask(broker, b"sick 1", b"mute 2", b"\xff 3")
        await running.until_settled(6)
    assert [request.correlation_id for request in running.repeated] == ["3"]


def request_of(body: bytes, correlation_id: str | None, reply_to: str | None) -> Request:
    return Request(body=body, arrived=0.0, reply_to=reply_to, correlation_id=correlation_id)


@steady
@given(
    most=st.integers(1, 5),
    most_bytes=st.integers(0, 30),
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=30),
)
def test_it_never_keeps_more_replies_or_bytes_than_it_may_and_never_a_wrong_one(
    most: int, most_bytes: int, sizes: list[tuple[int, int]]
) -> None:
    async def run() -> None:
        cache, serial = RememberedReplies(most, in_place, most_bytes=most_bytes), count()
        latest: dict[int, Reply] = {}
        for name, size in sizes:
            reply = Reply(body=b"%03d" % next(serial) + bytes(size))
            latest[name] = reply
            await cache.put([Answer(request_of(b"", str(name), QUEUE), reply)])
            kept = [await cache.get(request_of(b"", str(each), QUEUE)) for each in latest]
            found = [each for each in kept if each is not None]
            assert len(found) == len(cache) <= most
            assert sum(len(each.body) for each in found) <= most_bytes
            assert all(each in (None, latest[name]) for each, name in zip(kept, latest, strict=True))

    trio.run(run)


@pytest.mark.parametrize(("correlation_id", "reply_to"), [(None, QUEUE), ("1", None)])
async def test_who_can_not_be_told_from_others_is_not_remembered(
    correlation_id: str | None, reply_to: str | None
) -> None:
    cache = RememberedReplies(1, in_place)
    request = request_of(b"", correlation_id, reply_to)
    await cache.put([Answer(request, Reply(body=b""))])
    assert await cache.get(request) is None
    assert len(cache) == 0


async def test_long_bodies_are_told_apart_too() -> None:
    cache = RememberedReplies(2, in_place)
    one, other = (request_of(bytes(LONG_BODY) + tail, "1", QUEUE) for tail in (b"a", b"b"))
    await cache.put([Answer(one, Reply(body=b"one"))])
    assert await cache.get(other) is None
    assert await cache.get(one) == Reply(body=b"one")
