"""What a session delivers, and when it stops."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import trio

from rpcb_trio import Reply, SettingError, Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer, answer
from tests.rabbitmq import Broker

MEBIBYTE = 2**20


async def test_a_request_says_when_it_came_and_when_it_expires(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        before = trio.current_time()
        await Producer(broker, topology.queue).send(b"a", expiration="60000")
        request = await session.requests.receive()
    assert before < request.arrived < trio.current_time()
    assert request.deadline == request.arrived + 60


async def test_a_request_carries_its_properties(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    headers = {"n": 1, "s": "é", "nested": {"list": [True, None]}}
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, topology.queue).send(
            b"a", headers=headers, priority=3, correlation_id="7", reply_to="x"
        )
        request = await session.requests.receive()
    assert (request.body, request.headers, request.priority) == (b"a", headers, 3)
    assert (request.correlation_id, request.reply_to, request.redelivered) == ("7", "x", False)


async def test_a_bare_request_has_none_of_them(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, topology.queue).send(b"")
        request = await session.requests.receive()
    assert (request.body, request.headers, request.priority, request.deadline) == (b"", {}, 0, None)
    assert (request.correlation_id, request.reply_to) == (None, None)


async def test_no_more_than_the_prefetch_is_held(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=3) as session:
        await producer.send(b"a", b"b", b"c", b"d", b"e")
        held = [await session.requests.receive() for _ in range(3)]
        assert len(await producer.read()) == 2
        await session.settle([Answer(request, Reply(body=b"")) for request in held])


async def test_what_is_not_settled_is_redelivered_to_the_next_session_and_marked(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, topology.queue).send(b"a", b"b")
        await answer(session, 1)
        assert not (await session.requests.receive()).redelivered
    async with transport.open_session(topology, prefetch=10) as session:
        again = await session.requests.receive()
    assert (again.body, again.redelivered) == (b"b", True)


async def test_a_request_of_an_earlier_session_can_not_be_settled(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, topology.queue).send(b"a")
        stale = await session.requests.receive()
    async with transport.open_session(topology, prefetch=10) as session:
        fresh = await session.requests.receive()
        assert fresh.tag == stale.tag
        with pytest.raises(SessionLost, match="earlier session"):
            await session.settle([Answer(stale, Reply(body=b""))])
        await session.settle([Answer(fresh, Reply(body=b""))])
        with pytest.raises(SessionLost, match="settled"):
            await session.settle([Answer(fresh, Reply(body=b""))])


async def test_requests_end_after_what_was_delivered_once_consuming_has_stopped(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=3) as session:
        await producer.send(b"a", b"b", b"c", b"d")
        first = await session.requests.receive()
        await session.stop_consuming()
        await session.stop_consuming()
        rest = [request async for request in session.requests]
        await session.settle([Answer(request, Reply(body=b"")) for request in (first, *rest)])
        assert [request.body for request in rest] == [b"b", b"c"]
    assert [body for _, _, body in await producer.read()] == [b"d"]


async def test_a_closed_receiver_leaves_the_requests_to_others(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=3) as session:
        session.requests.close()
        await producer.send(b"a")
        await session.stop_consuming()
    assert [body for _, _, body in await producer.read()] == [b"a"]


@pytest.mark.parametrize(
    "properties",
    [{"correlation_id": b"\xe9"}, {"headers": {b"\xe9": 1}}],
    ids=["text that is not UTF-8", "a header's name that is not UTF-8"],
)
async def test_unreadable_properties_cost_that_request_only(
    broker: Broker,
    transport: AmqpTransport,
    topology: Topology,
    properties: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    producer, dead = Producer(broker, topology.queue), broker.fresh_name("dead")
    await producer.declare(dead)
    buries = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    topology = Topology(queue=topology.queue, arguments=buries)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"bad", **properties)
        await producer.send(b"good")
        request = await session.requests.receive()
        await session.settle([Answer(request, Reply(body=b""))])
    assert request.body == b"good"
    assert [await producer.count(each) for each in (topology.queue, dead)] == [0, 1]
    assert f"queue {topology.queue}: a request was rejected, for the broker to dead-letter" in caplog.text


async def test_a_routing_key_that_is_not_utf_8_costs_nothing(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    producer, answers = Producer(broker, queue), broker.fresh_name("answers")
    await producer.declare(answers)
    topology = Topology(queue=queue, exchange=broker.fresh_name("exchange"), exchange_type="fanout")
    async with transport.open_session(topology, prefetch=10) as session:
        key = b"KEY\xff\xfeY"
        await producer.send(b"a", exchange=topology.exchange, key=key, reply_to=answers, correlation_id="7")
        assert await answer(session, 1) == [Settled.REPLIED]
    ((_, properties, body),) = await producer.read(answers)
    assert (properties.correlation_id, body) == ("7", b"A")
    assert await producer.count(queue) == 0


async def test_bodies_are_not_kept_once_settled(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=2) as session:
        await producer.send(b"x" * 8 * MEBIBYTE)
        await answer(session, 1)
        tracemalloc.start()
        try:
            await producer.send(b"x" * 8 * MEBIBYTE)
            await answer(session, 1)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < MEBIBYTE < 8 * MEBIBYTE < peak


@pytest.mark.parametrize("prefetch", [0, -1, 65536])
async def test_a_prefetch_that_is_no_bound_is_refused(
    transport: AmqpTransport, topology: Topology, prefetch: int
) -> None:
    with pytest.raises(SettingError, match="prefetch"):
        async with transport.open_session(topology, prefetch=prefetch):
            pass
