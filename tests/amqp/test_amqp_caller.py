"""Calls go out and their replies come in on one channel."""

from __future__ import annotations

import re

import msgspec
import pytest
import trio

from rpcb_trio import Reply, SettingError, Topology
from rpcb_trio._messages import Outgoing
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import PublishRefused, SessionLost, Unroutable
from rpcb_trio.instruments import Answer
from tests.amqp.producer import Producer, answer
from tests.amqp.proxy import open_proxy
from tests.rabbitmq import Broker
from tests.replies import refusal_of, replies_of, unexpected


def outgoing(routing_key: str, exchange: str = "", **more: object) -> Outgoing:
    return Outgoing(body=b"a", exchange=exchange, routing_key=routing_key, correlation_id="7", **more)  # type: ignore[arg-type] # of any field


async def test_a_request_is_answered_with_all_that_the_reply_carries(
    transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session, transport.open_caller() as caller:
        replies = replies_of(caller)
        request = outgoing(topology.queue, headers={"their": 1}, priority=4, expiration=30.0)
        await caller.publish(request, unexpected)
        received = await session.requests.receive()
        await session.settle(
            [Answer(received, Reply(body=b"A", headers={"n": 1}, content_type="text/plain"))]
        )
        reply = await replies.receive()
    assert reply == Reply(body=b"A", correlation_id="7", headers={"n": 1}, content_type="text/plain")
    assert (received.headers, received.priority) == ({"their": 1}, 4)
    assert received.deadline == received.arrived + 30


async def test_many_calls_at_once_share_the_channel(transport: AmqpTransport, topology: Topology) -> None:
    async with (
        transport.open_session(topology, prefetch=100) as session,
        transport.open_caller() as caller,
        trio.open_nursery() as nursery,
    ):
        replies = replies_of(caller)
        for _ in range(50):
            nursery.start_soon(caller.publish, outgoing(topology.queue), unexpected)
        await answer(session, 50)
        assert [(await replies.receive()).body for _ in range(50)] == [b"A"] * 50


@pytest.mark.parametrize(
    ("exchange", "said"),
    [
        ("", "there is no queue '.*'"),
        ("amq.topic", "no queue is bound to exchange 'amq.topic' with routing key"),
        ("no-such-exchange", "exchange 'no-such-exchange' with routing key"),
        ("exchangé", "exchange 'exchangé' with routing key"),
    ],
)
async def test_a_request_that_reaches_no_queue_is_unroutable_and_the_session_lives_on(
    broker: Broker, transport: AmqpTransport, topology: Topology, exchange: str, said: str
) -> None:
    async with transport.open_session(topology, prefetch=10) as session, transport.open_caller() as caller:
        replies = replies_of(caller)
        refusal = await refusal_of(caller, outgoing(broker.fresh_name(), exchange))
        assert isinstance(refusal, Unroutable)
        assert re.search(said, str(refusal))
        await caller.publish(outgoing(topology.queue), unexpected)
        await answer(session, 1)
        assert (await replies.receive()).body == b"A"


async def test_a_request_to_a_full_queue_is_refused(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    producer = Producer(broker, queue)
    await producer.declare(queue, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    await producer.send(b"a")
    async with transport.open_caller() as caller:
        refusal = await refusal_of(caller, outgoing(queue))
        assert isinstance(refusal, PublishRefused)
        assert re.search("full", str(refusal))


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 300},
        {"priority": -1},
        {"headers": {"x": object}},
        {"headers": {"x": 2**70}},
        {"routing_key": "q" * 300},
        {"routing_key": "é" * 200},
    ],
    ids=repr,
)
async def test_a_request_that_amqp_has_no_form_for_is_a_wrong_setting_and_the_session_lives_on(
    transport: AmqpTransport, topology: Topology, wrong: dict[str, object]
) -> None:
    async with transport.open_session(topology, prefetch=10) as session, transport.open_caller() as caller:
        replies = replies_of(caller)
        refusal = await refusal_of(caller, msgspec.structs.replace(outgoing(topology.queue), **wrong))
        assert isinstance(refusal, SettingError)
        assert re.search(r"the request can't be put into AMQP: .", str(refusal))
        await caller.publish(outgoing(topology.queue), unexpected)
        await answer(session, 1)
        assert (await replies.receive()).body == b"A"


async def test_a_lost_connection_ends_the_session(broker: Broker, queue: str, limit: None) -> None:
    async with open_proxy(broker.url) as proxy, AmqpTransport(proxy.url).open_caller() as caller:
        proxy.cut()
        with pytest.raises(SessionLost, match="hung up"):
            await caller.watch()
        refusal = await refusal_of(caller, outgoing(queue))
        assert isinstance(refusal, SessionLost)
        assert re.search("hung up", str(refusal))


async def test_a_cancelled_publish_is_a_cancellation_and_leaves_the_session_whole(
    transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=10) as session, transport.open_caller() as caller:
        replies = replies_of(caller)
        with trio.CancelScope() as scope:
            scope.cancel()
            await caller.publish(outgoing(topology.queue), unexpected)
        assert scope.cancelled_caught
        await caller.publish(outgoing(topology.queue), unexpected)
        await answer(session, 1)
        assert (await replies.receive()).body == b"A"
