"""A reply that the broker will not take costs its own request only."""

from __future__ import annotations

import pytest
import trio

from rpcb_trio import Reply, Request, Topology
from rpcb_trio._transports._amqp._session import _outbox
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer, answer
from tests.amqp.proxy import open_proxy
from tests.amqp.users import only_reply
from tests.rabbitmq import Broker

FORGED = "amq.rabbitmq.reply-to.aaaa.bbbb"


async def dead_lettering(broker: Broker, topology: Topology) -> tuple[Topology, str]:
    """A topology whose rejected requests are found in a queue."""
    dead = broker.fresh_name("dead")
    await Producer(broker, topology.queue).declare(dead)
    return Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead), dead


async def test_a_forged_address_is_found_out_by_brokers_before_4_3_and_its_batch_mates_are_answered(
    broker: Broker, transport: AmqpTransport, topology: Topology, forged: Settled
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    topology, dead = await dead_lettering(broker, topology)
    async with transport.open_session(topology, prefetch=10) as session:
        for body, reply_to in ((b"a", inbox), (b"evil", FORGED), (b"b", inbox), (b"worse", FORGED)):
            await producer.send(body, reply_to=reply_to)
        settled = await answer(session, 4)
        assert settled == [Settled.REPLIED, forged, Settled.REPLIED, forged]
        await producer.send(b"c", reply_to=inbox)
        assert await answer(session, 1) == [Settled.REPLIED]
    assert {body for _, _, body in await producer.read(inbox)} == {b"A", b"B", b"C"}
    found_out = [b"evil", b"worse"] if forged is Settled.REJECTED else []
    assert sorted(body for _, _, body in await producer.read(dead)) == found_out
    assert await producer.read() == []


async def test_two_batches_at_once_do_not_blame_each_other(
    broker: Broker, transport: AmqpTransport, topology: Topology, forged: Settled
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    outcomes: dict[bytes, Settled] = {}
    async with transport.open_session(topology, prefetch=10) as session:
        for body, reply_to in ((b"a", inbox), (b"evil", FORGED), (b"b", inbox), (b"worse", FORGED)):
            await producer.send(body, reply_to=reply_to)
        held = [await session.requests.receive() for _ in range(4)]

        async def settle(first: int) -> None:
            pair = held[first : first + 2]
            settled = await session.settle([Answer(request, Reply(body=b"")) for request in pair])
            outcomes.update(zip((request.body for request in pair), settled, strict=True))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle, 0)
            nursery.start_soon(settle, 2)
    assert outcomes == {
        b"a": Settled.REPLIED,
        b"b": Settled.REPLIED,
        b"evil": forged,
        b"worse": forged,
    }


async def test_a_reply_to_a_full_queue_is_given_up_and_its_request_dead_lettered(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    topology, dead = await dead_lettering(broker, topology)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", b"b", reply_to=inbox)
        assert await answer(session, 2) == [Settled.REPLIED, Settled.REJECTED]
    assert [body for _, _, body in await producer.read(dead)] == [b"b"]


async def test_a_reply_to_a_full_queue_that_gets_room_in_time_is_delivered(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    bodies: list[bytes] = []

    async def make_room() -> None:
        while len(bodies) < 2:
            bodies.extend(body for _, _, body in await producer.read(inbox))

    async with transport.open_session(topology, prefetch=10) as session, trio.open_nursery() as nursery:
        await producer.send(b"a", b"b", reply_to=inbox)
        nursery.start_soon(make_room)
        assert await answer(session, 2) == [Settled.REPLIED] * 2
    assert bodies == [b"A", b"B"]


async def test_a_reply_with_a_header_that_amqp_lacks_is_told_and_can_be_replaced(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", b"b", reply_to=inbox)
        bad, good = [await session.requests.receive() for _ in range(2)]
        replies = [Answer(bad, Reply(body=b"", headers={"x": object()})), Answer(good, Reply(body=b"B"))]
        assert await session.settle(replies) == [Settled.UNSENDABLE, Settled.REPLIED]
        assert await session.settle([Answer(bad, Reply(body=b"sorry"))]) == [Settled.REPLIED]
    assert [body for _, _, body in await producer.read(inbox)] == [b"B", b"sorry"]
    assert await producer.read() == []


async def test_a_publishing_connection_that_broke_while_idle_is_rebuilt(
    broker: Broker, topology: Topology, limit: None
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with (
        open_proxy(broker.url) as proxy,
        AmqpTransport(proxy.url).open_session(topology, prefetch=10) as session,
    ):
        await producer.send(b"a", reply_to=inbox)
        request = await session.requests.receive()
        await proxy.cut_newest()
        assert await session.settle([Answer(request, Reply(body=b"A"))]) == [Settled.REPLIED]
    assert [body for _, _, body in await producer.read(inbox)] == [b"A"]


async def test_a_publishing_connection_that_can_not_be_rebuilt_ends_the_session(
    broker: Broker, topology: Topology, limit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outbox, "LAST_DIAL", 0.01)
    async with (
        open_proxy(broker.url) as proxy,
        AmqpTransport(proxy.url).open_session(topology, prefetch=10) as session,
    ):
        await Producer(broker, topology.queue).send(b"a", reply_to="x")
        request = await session.requests.receive()
        proxy.refuse_more()
        await proxy.cut_newest()
        with pytest.raises(SessionLost, match="can't be rebuilt"):
            await session.settle([Answer(request, Reply(body=b"A"))])
        with pytest.raises(SessionLost, match="can't be rebuilt"):
            await session.watch()


async def test_a_broker_short_of_memory_holds_up_replies_but_not_acks(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    settled: list[Settled] = []

    async def settle(request: Request) -> None:
        settled.extend(await session.settle([Answer(request, Reply(body=b"A"))]))

    async with transport.open_session(topology, prefetch=10) as session, trio.open_nursery() as nursery:
        await producer.send(b"a", reply_to=inbox)
        await producer.send(b"b")
        wants_reply, wants_none = [await session.requests.receive() for _ in range(2)]
        await broker.rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
        try:
            nursery.start_soon(settle, wants_reply)
            await settle(wants_none)
            while "blocked" not in (await broker.rabbitmqctl("list_connections", "state")).split():
                pass
            assert settled == [Settled.NO_REPLY_TO]
        finally:
            await broker.rabbitmqctl("set_vm_memory_high_watermark", "0.4")
    assert settled == [Settled.NO_REPLY_TO, Settled.REPLIED]


async def test_a_worker_that_may_only_reply_can_not_be_made_to_publish_elsewhere(
    broker: Broker, topology: Topology, limit: None
) -> None:
    producer, inbox, queue = Producer(broker, topology.queue), broker.fresh_name("inbox"), topology.queue
    await producer.declare(inbox)
    await producer.declare(queue)
    transport = AmqpTransport(await only_reply(broker, queue))
    async with transport.open_session(Topology(queue=queue, declare="passive"), prefetch=10) as session:
        await producer.send(b"a", reply_to=inbox)
        await producer.send(b"evil", reply_to=f"amq.topic/{inbox}")
        assert await answer(session, 2) == [Settled.REPLIED, Settled.REJECTED]
    assert [body for _, _, body in await producer.read(inbox)] == [b"A"]
