"""The end of a session is noticed, told in words, and costs nothing but the session."""

from __future__ import annotations

import pytest
import trio

from rpcb_trio import Reply, Topology
from rpcb_trio._transports import Session
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer, answer
from tests.amqp.proxy import open_proxy
from tests.rabbitmq import Broker


async def test_a_deleted_queue_ends_the_session(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, topology.queue).delete(topology.queue)
        with pytest.raises(SessionLost, match=f"queue '{topology.queue}' deleted"):
            await session.watch()


async def test_a_broker_that_stops_ends_the_session_and_the_next_one_finds_it_back(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", delivery_mode=2)
        request = await session.requests.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.stop_app)
            with pytest.raises(SessionLost, match="CONNECTION_FORCED"):
                await session.watch()
        with pytest.raises(SessionLost, match="CONNECTION_FORCED"):
            await session.settle([Answer(request, Reply(body=b""))])
        with pytest.raises(SessionLost, match="CONNECTION_FORCED"):
            await session.stop_consuming()
    with pytest.raises(SessionLost, match="refused"):
        async with transport.open_session(topology, prefetch=10):
            pass
    await broker.start_app()
    async with transport.open_session(topology, prefetch=10) as session:
        again = await session.requests.receive()
        assert (again.body, again.redelivered) == (b"a", True)
        assert await session.settle([Answer(again, Reply(body=b""))]) == [Settled.NO_REPLY_TO]


async def test_a_connection_that_breaks_is_noticed_without_a_heartbeat(
    broker: Broker, topology: Topology, limit: None
) -> None:
    async with (
        open_proxy(broker.url) as proxy,
        AmqpTransport(proxy.url, heartbeat=0).open_session(topology, prefetch=10) as session,
    ):
        proxy.cut()
        with pytest.raises(SessionLost, match="hung up"):
            await session.watch()


async def test_the_session_of_a_silent_broker_can_be_left_without_a_word_from_it(
    broker: Broker, topology: Topology, limit: None
) -> None:
    async with open_proxy(broker.url) as proxy:
        async with AmqpTransport(proxy.url, heartbeat=0).open_session(topology, prefetch=10):
            proxy.freeze()
        assert proxy.accepted == 2, "it was frozen while both connections were open"


async def test_a_cancelled_settle_is_a_cancellation_and_leaves_the_session_whole(
    broker: Broker, topology: Topology, limit: None
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with AmqpTransport(broker.url).open_session(topology, prefetch=10) as session:
        await producer.send(b"a", b"b", reply_to=inbox)
        first, second = [await session.requests.receive() for _ in range(2)]
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.settle([Answer(first, Reply(body=b"A"))])
        assert scope.cancelled_caught
        assert await session.settle([Answer(second, Reply(body=b"B"))]) == [Settled.REPLIED]
    left = await producer.read()
    assert [body for _, _, body in left] == [b"a"]


@pytest.mark.parametrize("steps", range(1, 12))
async def test_a_settle_cancelled_anywhere_loses_no_request(
    broker: Broker, transport: AmqpTransport, topology: Topology, steps: int
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)

    async def cancel_soon(scope: trio.CancelScope) -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", b"b", b"c", reply_to=inbox)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_soon, nursery.cancel_scope)
            await answer(session, 3)
    replied = {body.lower() for _, _, body in await producer.read(inbox)}
    left = {body for _, _, body in await producer.read()}
    assert replied | left == {b"a", b"b", b"c"}


async def test_a_session_that_is_cancelled_closes_and_gives_back_what_it_held(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    declared, held = trio.Event(), trio.Event()

    async def work() -> None:
        async with transport.open_session(topology, prefetch=10) as session:
            declared.set()
            await session.requests.receive()
            held.set()
            await session.watch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await declared.wait()
        await producer.send(b"a")
        await held.wait()
        nursery.cancel_scope.cancel()
    assert [body for _, _, body in await producer.read()] == [b"a"]


async def test_what_the_body_raises_comes_out_as_it_is(transport: AmqpTransport, topology: Topology) -> None:
    with pytest.raises(ZeroDivisionError):
        async with transport.open_session(topology, prefetch=10):
            raise ZeroDivisionError


async def test_a_session_that_was_left_says_so(transport: AmqpTransport, topology: Topology) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        pass
    with pytest.raises(SessionLost, match="closed"):
        await session.stop_consuming()
    with pytest.raises(trio.EndOfChannel):
        await session.requests.receive()


async def test_sessions_live_side_by_side(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    other = Topology(queue=broker.fresh_name())
    sessions: list[Session] = []
    async with transport.open_session(topology, prefetch=10) as one:
        async with transport.open_session(other, prefetch=10) as two:
            sessions += [one, two]
            for session, each in zip(sessions, (topology, other), strict=True):
                await Producer(broker, each.queue).send(b"a")
                assert await answer(session, 1) == [Settled.NO_REPLY_TO]
        await Producer(broker, topology.queue).send(b"b")
        assert await answer(one, 1) == [Settled.NO_REPLY_TO]
