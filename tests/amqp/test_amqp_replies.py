"""Producers get their replies, each on the address it named."""

from __future__ import annotations

import pika  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import Reply, Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer, answer
from tests.rabbitmq import Broker


async def test_a_caller_with_direct_reply_to_gets_each_reply_under_its_correlation_id(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    replies: list[tuple[str, bytes]] = []

    async def call() -> None:
        got = await producer.call(b"a", b"b", b"c")
        replies.extend((properties.correlation_id, body) for properties, body in got)

    async with transport.open_session(topology, prefetch=10) as session, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        settled = await answer(session, 3)
    assert sorted(replies) == [("call-0", b"A"), ("call-1", b"B"), ("call-2", b"C")]
    assert settled == [Settled.REPLIED] * 3


async def test_a_caller_with_an_exclusive_queue_gets_its_reply(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    replies: list[bytes] = []

    async def call() -> None:
        replies.extend(body for _, body in await Producer(broker, topology.queue).call(b"a", exclusive=True))

    async with transport.open_session(topology, prefetch=10) as session, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        assert await answer(session, 1) == [Settled.REPLIED]
    assert replies == [b"A"]


async def test_a_request_without_a_correlation_id_gets_a_reply_without_one(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    correlation_ids: list[str | None] = []

    async def call() -> None:
        got = await Producer(broker, topology.queue).call(b"a", correlated=False)
        correlation_ids.extend(properties.correlation_id for properties, _ in got)

    async with transport.open_session(topology, prefetch=10) as session, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await answer(session, 1)
    assert correlation_ids == [None]


async def test_a_reply_carries_its_own_content_type_and_headers_and_none_of_the_requests(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", reply_to=inbox, message_id="theirs", user_id="guest", headers={"their": 1})
        await answer(session, 1, content_type="text/plain", headers={"our": "own"})
    [(_, properties, body)] = await producer.read(inbox)
    assert (body, properties.content_type, properties.headers) == (b"A", "text/plain", {"our": "own"})
    assert properties.message_id != "theirs"
    assert (properties.user_id, properties.delivery_mode) == (None, 1)


async def test_a_request_that_names_nobody_to_answer_is_acked(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a")
        assert await answer(session, 1) == [Settled.NO_REPLY_TO]
    assert await producer.read() == []


async def test_a_request_whose_reply_queue_is_gone_is_acked(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", reply_to=broker.fresh_name("gone"))
        assert await answer(session, 1) == [Settled.UNROUTABLE]
    assert await producer.read() == []


async def test_a_direct_caller_who_has_gone_costs_its_reply_only_though_no_broker_tells(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        await trio.to_thread.run_sync(ask_and_leave, broker, topology.queue)
        assert await answer(session, 1) == [Settled.REPLIED]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, session, 1)
            assert len(await Producer(broker, topology.queue).call(b"still here")) == 1


def ask_and_leave(broker: Broker, queue: str) -> None:
    with broker.channel() as channel:
        channel.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True)
        channel.basic_publish("", queue, b"gone", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))


async def test_the_reply_to_a_queue_with_a_slash_in_its_name_goes_to_that_queue(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), f"amq/{broker.fresh_name('inbox')}"
    await producer.declare(inbox)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", reply_to=inbox)
        assert await answer(session, 1) == [Settled.REPLIED]
    assert [body for _, _, body in await producer.read(inbox)] == [b"A"]
    await producer.delete(inbox)


async def test_an_exchange_and_a_routing_key_are_an_address_where_no_queue_has_that_name(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.bind(inbox, "amq.topic", f"{inbox}/key")
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", b"b", reply_to=f"amq.topic/{inbox}/key")
        await producer.send(b"c", reply_to=f"/{inbox}")
        assert await answer(session, 3) == [Settled.REPLIED] * 3
    assert sorted(body for _, _, body in await producer.read(inbox)) == [b"A", b"B", b"C"]


async def test_an_exchange_that_is_missing_or_has_no_queue_for_the_key_costs_that_reply_only(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with transport.open_session(topology, prefetch=10) as session:
        for reply_to in ("no-such-exchange/key", inbox, "amq.topic/no-such-key", "exchangé/key"):
            await producer.send(b"a", reply_to=reply_to)
        settled = await answer(session, 4)
    assert settled == [Settled.UNROUTABLE, Settled.REPLIED, Settled.UNROUTABLE, Settled.UNROUTABLE]


async def test_a_whole_batch_of_many_callers_is_settled_at_once(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    bodies = [b"%d" % n for n in range(300)]
    async with transport.open_session(topology, prefetch=100) as session:
        await producer.send(*bodies, reply_to=inbox)
        for _ in range(3):
            assert await answer(session, 100) == [Settled.REPLIED] * 100
    assert [body for _, _, body in await producer.read(inbox)] == bodies
    assert await producer.read() == []


@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "criss-cross"])
async def test_many_batches_at_once_are_each_acked_once(
    broker: Broker, transport: AmqpTransport, topology: Topology, *, in_order: bool
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with transport.open_session(topology, prefetch=400) as session, trio.open_nursery() as nursery:
        await producer.send(*(b"%d" % n for n in range(400)), reply_to=inbox)
        held = [await session.requests.receive() for _ in range(400)]
        answers = [Answer(request, Reply(body=request.body)) for request in held]
        for n in range(100):
            nursery.start_soon(session.settle, answers[4 * n : 4 * n + 4] if in_order else answers[n::100])
    assert len(await producer.read(inbox)) == 400
    assert await producer.read() == []


async def test_settling_nothing_is_no_work(transport: AmqpTransport, topology: Topology) -> None:
    async with transport.open_session(topology, prefetch=10) as session:
        assert await session.settle([]) == []


async def test_a_late_settle_does_not_wait_for_the_requests_before_it(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(*(b"%d" % n for n in range(7)))
        held = [await session.requests.receive() for _ in range(7)]
        for group in ([3, 1, 0], [5, 6]):
            await session.settle([Answer(held[n], Reply(body=b"")) for n in group])
    left = await producer.read()
    assert [body for _, _, body in left] == [b"2", b"4"]
    assert all(method.redelivered for method, _, _ in left)
