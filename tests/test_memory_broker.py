"""The embedded broker behaves as RabbitMQ does, as far as a worker and a client can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, Reply, Request, SettingError, Topology, open_client, open_worker
from rpcb_trio._messages import Outgoing
from rpcb_trio._transports import Session
from rpcb_trio.errors import SessionLost, Unroutable
from rpcb_trio.instruments import Answer, Settled
from tests.replies import replies_of, unexpected
from tests.scenarios import ANSWERS, QUEUE, answers, ask, taken

WORK = Topology(queue=QUEUE)


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


def delivered(session: Session) -> list[Request]:
    """Take what has been delivered so far."""
    requests = []
    try:
        while True:
            requests.append(session.requests.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return requests


def bodies(session: Session) -> list[bytes]:
    return [request.body for request in delivered(session)]


def replies_to(requests: Sequence[Request]) -> list[Answer]:
    return [
        Answer(request, Reply(body=request.body.upper(), correlation_id=request.correlation_id))
        for request in requests
    ]


async def test_no_more_than_the_prefetch_is_delivered_and_an_ack_makes_room_for_one() -> None:
    broker = MemoryBroker()
    ask(broker, b"a 1", b"a 2", b"a 3", b"a 4")
    async with broker.open_session(WORK, prefetch=2) as session:
        first, _ = delivered(session)
        assert broker.depth(QUEUE) == 2
        assert await session.settle(replies_to([first])) == [Settled.REPLIED]
        assert bodies(session) == [b"a 3"]
        assert answers(broker) == {"1": b"A 1"}


async def test_what_a_session_leaves_unacked_is_delivered_again_first_in_order_and_marked() -> None:
    broker = MemoryBroker()
    ask(broker, b"a 1", b"a 2", b"a 3", b"a 4")
    async with broker.open_session(WORK, prefetch=3) as session:
        _, second, _ = delivered(session)
        await session.settle(replies_to([second]))
    async with broker.open_session(WORK, prefetch=3) as session:
        again = delivered(session)
    assert [(request.body, request.redelivered) for request in again] == [
        (b"a 1", True),
        (b"a 3", True),
        (b"a 4", True),
    ]


async def test_delivery_tags_begin_anew_in_each_session() -> None:
    broker = MemoryBroker()
    ask(broker, b"a 1", b"a 2")
    for _ in range(3):
        async with broker.open_session(WORK, prefetch=2) as session:
            assert [request.tag for request in delivered(session)] == [1, 2]


async def test_the_consumers_of_a_queue_get_its_messages_in_turn() -> None:
    broker = MemoryBroker()
    async with broker.open_session(WORK, prefetch=2) as one, broker.open_session(WORK, prefetch=10) as other:
        ask(broker, b"a 1", b"a 2", b"a 3", b"a 4", b"a 5", b"a 6")
        assert len(delivered(one)) == 2
        assert len(delivered(other)) == 4


async def test_nothing_is_acked_before_all_replies_are_out(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker()
    ask(broker, b"a 1", b"a 2")

    def fail_at_the_second(answer: Answer) -> Settled:
        if answer.request.correlation_id == "2":
            raise SessionLost("gone")
        return Settled.REPLIED

    async with broker.open_session(WORK, prefetch=2) as session:
        monkeypatch.setattr(session, "_reply", fail_at_the_second)
        with pytest.raises(SessionLost):
            await session.settle(replies_to(delivered(session)))
    assert broker.depth(QUEUE) == 2


async def test_once_consuming_stops_the_requests_end_and_can_still_be_settled() -> None:
    broker = MemoryBroker()
    ask(broker, b"a 1", b"a 2")
    async with broker.open_session(WORK, prefetch=10) as session:
        await session.stop_consuming()
        ask(broker, b"a 3")
        held = [request async for request in session.requests]
        assert await session.settle(replies_to(held)) == [Settled.REPLIED] * 2
    assert [message.body for message in taken(broker, QUEUE)] == [b"a 3"]


async def test_a_disconnect_ends_every_session_and_its_deliveries_come_again() -> None:
    broker = MemoryBroker()
    ask(broker, b"a 1", b"a 2")
    async with broker.open_session(WORK, prefetch=1) as one, broker.open_session(WORK, prefetch=1) as other:
        broker.disconnect()
        for session in (one, other):
            with pytest.raises(SessionLost):
                await session.watch()
            with pytest.raises(SessionLost):
                await session.settle(replies_to(delivered(session)))
    assert broker.depth(QUEUE) == 2
    async with broker.open_session(WORK, prefetch=2) as session:
        assert len(delivered(session)) == 2


async def test_a_message_that_expires_in_the_queue_is_never_delivered(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker)
    broker.publish(b"short", routing_key=QUEUE, expiration=1.0)
    broker.publish(b"long", routing_key=QUEUE, expiration=10.0)
    await trio.sleep(1)
    async with broker.open_session(WORK, prefetch=10) as session:
        (request,) = delivered(session)
    assert (request.body, request.deadline) == (b"long", trio.current_time() + 10.0)


async def test_an_exchange_routes_by_every_key_that_a_queue_is_bound_with() -> None:
    broker = MemoryBroker()
    english = Topology(queue="asr-en", exchange="asrExchange", routing_keys=("rpc-en", "asr-en"))
    chinese = Topology(queue="cc1", exchange="asrExchange", routing_keys=("rpc",))
    listening = Topology(queue="log", exchange="asrExchange", routing_keys=("rpc", "asr-en"))
    for topology in (english, chinese, listening):
        async with broker.open_session(topology, prefetch=1):
            pass
    for key in ("rpc-en", "asr-en", "rpc"):
        assert broker.publish(key.encode(), routing_key=key, exchange="asrExchange")
    assert not broker.publish(b"lost", routing_key="asr-fr", exchange="asrExchange")
    assert not broker.publish(b"lost", routing_key="rpc", exchange="seExchange")
    assert [each.body for each in taken(broker, "asr-en")] == [b"rpc-en", b"asr-en"]
    assert [each.body for each in taken(broker, "cc1")] == [b"rpc"]
    assert [each.body for each in taken(broker, "log")] == [b"asr-en", b"rpc"]


@pytest.mark.parametrize("kind", ["fanout", "headers"])
async def test_an_exchange_that_needs_no_key_puts_all_that_is_sent_there_into_every_queue(kind: Any) -> None:
    broker = MemoryBroker()
    for queue in ("one", "other"):
        async with broker.open_session(Topology(queue=queue, exchange="x", exchange_type=kind), prefetch=1):
            pass
    assert broker.publish(b"a", routing_key="any", exchange="x")
    assert [len(list(taken(broker, queue))) for queue in ("one", "other")] == [1, 1]


@pytest.mark.parametrize(
    ("pattern", "passes", "does_not"),
    [
        ("a.*", ["a.b", "a."], ["a", "a.b.c", "b.a"]),
        ("a.#", ["a", "a.b", "a.b.c"], ["b", "ab"]),
        ("#", ["", "a", "a.b"], []),
        ("#.c", ["c", "a.c", "a.b.c", "c.c"], ["c.d", "cc"]),
        ("*.b.#", ["a.b", "a.b.c"], ["b", "a.c"]),
    ],
)
async def test_a_topic_exchange_routes_by_patterns(
    pattern: str, passes: list[str], does_not: list[str]
) -> None:
    broker = MemoryBroker()
    async with broker.open_session(Topology(queue="q", exchange="e", routing_keys=(pattern,)), prefetch=1):
        pass
    for key in (*passes, *does_not):
        broker.publish(key.encode(), routing_key=key, exchange="e")
    assert [each.body.decode() for each in taken(broker, "q")] == passes


async def test_a_direct_reply_reaches_its_caller_and_no_other() -> None:
    broker = MemoryBroker()
    broker.declare(QUEUE)
    async with broker.open_caller() as one, broker.open_caller() as other:
        to_one, to_other = replies_of(one), replies_of(other)
        for caller, name in ((one, "1"), (other, "2")):
            await caller.publish(
                Outgoing(
                    body=b"a", exchange="", routing_key=QUEUE, correlation_id=name, headers={"lang": "en"}
                ),
                unexpected,
            )
        async with broker.open_session(WORK, prefetch=2) as session:
            requests = delivered(session)
            assert await session.settle(replies_to(requests)) == [Settled.REPLIED] * 2
        assert [request.headers for request in requests] == [{"lang": "en"}] * 2
        assert to_one.receive_nowait().correlation_id == "1"
        assert to_other.receive_nowait().correlation_id == "2"


async def test_a_caller_that_has_left_does_a_worker_no_harm() -> None:
    broker = MemoryBroker()
    broker.declare(QUEUE)
    request = Outgoing(body=b"a", exchange="", routing_key=QUEUE, correlation_id="1")
    async with broker.open_session(WORK, prefetch=2) as session:
        async with broker.open_caller() as caller:
            await caller.publish(request, unexpected)
            [left] = delivered(session)
        assert await session.settle(replies_to([left])) == [Settled.UNROUTABLE]
    assert broker.depth(QUEUE) == 0


async def test_a_call_to_nowhere_and_a_call_after_a_disconnect_are_told_apart() -> None:
    broker = MemoryBroker()
    request = Outgoing(body=b"a", exchange="", routing_key="nowhere", correlation_id="1")
    async with broker.open_caller() as caller:
        with pytest.raises(Unroutable, match="'nowhere'"):
            await caller.publish(request, unexpected)
        broker.disconnect()
        with pytest.raises(SessionLost):
            await caller.publish(request, unexpected)
        with pytest.raises(SessionLost):
            await caller.watch()


NESTED = list[Any]()
NESTED.append(NESTED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 300},
        {"priority": -1},
        {"priority": "high"},
        {"headers": {"x": object}},
        {"headers": {"x": 2**70}},
        {"headers": {1: "x"}},
        {"headers": {"x" * 300: "x"}},
        {"headers": {"x": [{"\ud800": 1}]}},
        {"headers": {"x": "\ud800"}},
        {"headers": {"x": NESTED}},
        {"content_type": 5},
        {"routing_key": "é" * 200, "queue": None, "exchange": "x"},
    ],
    ids=ascii,
)
async def test_a_request_that_amqp_has_no_form_for_is_refused_and_harms_no_worker(wrong: Any) -> None:
    broker = MemoryBroker()
    async with open_worker(shout, broker, "q"), open_client(broker) as client:
        with pytest.raises(SettingError, match="the request can't be put into AMQP: "):
            await client.call(b"hi", **{"queue": "q", **wrong})
        headers = {"x": [1, None, {"y": b"z"}, 1.5, True]}
        assert (await client.call(b"hi", queue="q", headers=headers, priority=255)).body == b"HI"


async def test_a_foreign_producer_reads_its_replies_off_a_queue_one_by_one() -> None:
    broker = MemoryBroker()
    broker.declare(ANSWERS)
    assert broker.get(ANSWERS) is None
    broker.publish(b"a", routing_key=ANSWERS, correlation_id="7")
    assert broker.depth(ANSWERS) == 1
    assert broker.get(ANSWERS) == Reply(body=b"a", correlation_id="7")
