"""The worker on RabbitMQ: each request that can't be served is answered or kept, and harms nobody."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pika  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import FixedPolicy, Topology
from rpcb_trio.instruments import Settled
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.scenarios import Shouting

pytestmark = pytest.mark.usefixtures("limit")


@pytest.fixture
def topology(queue: str, dead: str) -> Topology:
    return Topology(queue=queue, dead_letter_exchange="", dead_letter_routing_key=dead)


async def test_malformed_empty_oversize_odd_and_anonymous_requests_each_get_their_due_and_spoil_nobody(
    broker: Broker, topology: Topology, inbox: str, dead: str
) -> None:
    producer = Producer(broker, topology.queue)
    async with serving(
        Shouting(), broker, topology, max_body_size=1000, no_reply_to="dead-letter"
    ) as running:
        send = partial(producer.send, reply_to=inbox)
        await send(b"good 1", correlation_id="1")
        await send(b"\xff", correlation_id="malformed")
        await send(b"", correlation_id="empty")
        await send(b"good " + bytes(1000), correlation_id="oversize")
        odd: dict[str, Any] = {"headers": {"x": [{"y": None}]}, "type": "?", "content_type": "no/such"}
        await send(b"good odd", correlation_id="odd", **odd)
        await send(b"good anonymous")
        await producer.send(b"good nobody", correlation_id="nobody")
        await send(b"good 2", correlation_id="2")
        await running.until_settled(8)
    replies = {properties.correlation_id: body for _, properties, body in await producer.read(inbox)}
    assert replies == {
        "1": b"ok:GOOD 1",
        "malformed": b"failed:decode",
        "empty": b"ok:",
        "oversize": b"failed:too-big",
        "odd": b"ok:GOOD ODD",
        None: b"ok:GOOD ANONYMOUS",
        "2": b"ok:GOOD 2",
    }
    [(_, properties, body)] = await producer.read(dead)
    assert body == b"good nobody"
    assert properties.headers["rpcb-dead-letter-reason"] == "the request has no reply_to"
    assert await producer.read() == []


async def test_a_request_that_is_sent_or_delivered_twice_is_computed_once(
    broker: Broker, topology: Topology, inbox: str
) -> None:
    producer, service = Producer(broker, topology.queue), Shouting()
    async with serving(service, broker, topology, batching=FixedPolicy(1), remember_replies=10) as running:
        for n in (1, 2):
            await producer.send(b"good 1", b"good 2", reply_to=inbox, correlation_id="1")
            await running.until_settled(2 * n)
    assert sorted(service.runs) == [["good 1"], ["good 2"]]
    assert Counter(body for _, _, body in await producer.read(inbox)) == {b"ok:GOOD 1": 2, b"ok:GOOD 2": 2}


async def test_a_caller_who_has_gone_costs_no_computing_where_that_is_checked(
    broker: Broker, topology: Topology, inbox: str, forged: Settled
) -> None:
    producer, service = Producer(broker, topology.queue), Shouting()
    await declare_durable(broker, topology.queue)
    addresses = await trio.to_thread.run_sync(ask_and_leave, broker, inbox, topology.queue)
    topology = Topology(queue=topology.queue, declare="passive")
    async with serving(service, broker, topology, check_caller=True) as running:
        await running.until_settled(3)
        replies = await producer.call(b"good here", b"good still")
        await producer.send(b"good 1", reply_to=inbox)
        await producer.send(b"good evil", reply_to="amq.rabbitmq.reply-to.aaaa.bbbb")
        await producer.send(b"good 2", reply_to=inbox)
        await running.until_settled(8)
    assert len(addresses) == 1
    assert sorted(item for run in service.runs for item in run) == [
        "good 1",
        "good 2",
        "good evil",
        "good here",
        "good still",
    ]
    assert sorted(body for _, body in replies) == [b"ok:GOOD HERE", b"ok:GOOD STILL"]
    assert running.endings == Counter({Settled.UNROUTABLE: 3, Settled.REPLIED: 4}) + Counter([forged])
    assert len(await producer.read(inbox)) == 2


def ask_and_leave(broker: Broker, relay: str, queue: str) -> set[str]:
    """Send three requests, and leave before they are answered."""
    with broker.channel() as channel:
        channel.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True)
        for _ in range(3):
            channel.basic_publish(
                "", relay, b"good gone", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to")
            )
        addresses = list[str]()
        while len(addresses) < 3:
            method, properties, body = channel.basic_get(relay, auto_ack=True)
            if method is not None:
                addresses.append(properties.reply_to)
                gone = pika.BasicProperties(reply_to=properties.reply_to, delivery_mode=2)
                channel.basic_publish("", queue, body, gone)
    return set(addresses)
