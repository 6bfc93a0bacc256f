"""The broker ends a consumer: its queue is deleted, or a delivery was held for too long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trio
from pamqp.commands import Basic  # noqa: TID251 - it has the frames
from pamqp.frame import marshal  # noqa: TID251 - likewise

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import TopologyMismatch
from tests.amqp.frames import TagBook
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.proxy import open_proxy
from tests.amqp.watched import Model, short_waits, working
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

Declare = Literal["active", "passive", "never"]


async def test_a_queue_deleted_under_load_is_declared_again_if_that_is_allowed_and_else_awaited(
    broker: Broker, transport: AmqpTransport
) -> None:
    declares: tuple[Declare, ...] = ("active", "passive", "never")
    queues = [broker.fresh_name() for _ in declares]
    producers = [Producer(broker, queue) for queue in queues]
    await declare_durable(broker, *queues)
    topologies = [Topology(queue=queue, declare=each) for queue, each in zip(queues, declares, strict=True)]
    with short_waits():
        async with (
            working(Model(0.05), transport, topologies[0]) as active,
            working(Model(0.05), transport, topologies[1]) as passive,
            working(Model(0.05), transport, topologies[2]) as never,
        ):
            for producer, seen in zip(producers, (active, passive, never), strict=True):
                await producer.send(*(b"%d" % n for n in range(50)))
                await seen.until_settled(1)
            for queue, producer in zip(queues, producers, strict=True):
                await producer.delete(queue)
            await active.until_back()
            for queue, seen in zip(queues[1:], (passive, never), strict=True):
                refusal = await seen.until_refused(3)
                assert isinstance(refusal, TopologyMismatch)
                assert f"queue '{queue}': it does not exist; create it, or use declare=active" in str(refusal)
            await declare_durable(broker, *queues)
            for queue, producer, seen in zip(queues, producers, (active, passive, never), strict=True):
                assert f"was queue {queue!r} deleted" in str(seen.lost_sessions[0])
                await producer.send(b"afterwards")
                await seen.until(lambda seen: seen.settled[-1][0].request.body == b"afterwards")
                assert seen.is_ready


async def test_a_request_held_longer_than_the_broker_waits_is_answered_after_redelivery_and_the_remedy_told(
    broker: Broker, transport: AmqpTransport
) -> None:
    """RabbitMQ closes the channel with 406; from 4.3 on it cancels the consumer, as the proxy always does."""
    cancels = broker.version >= (4, 3)
    first, second, answers = broker.fresh_name(), broker.fresh_name(), broker.fresh_name("answers")
    await Producer(broker, first).declare(answers)
    slow, interrupted, book = Model(30), Model(30), TagBook()
    with short_waits():
        async with (
            open_proxy(broker.url, book) as proxy,
            working(interrupted, AmqpTransport(proxy.url), second) as cancelled,
            impatient(broker),
            working(slow, transport, impatient_queue(first) if cancels else first) as closed,
        ):
            await Producer(broker, first).send(b"a", reply_to=answers)
            await Producer(broker, second).send(b"b", reply_to=answers)
            reason = await closed.until_lost()
            slow.let_go.set()
            await cancelled.until(lambda seen: seen.batches)
            [(connection, consumer)] = book.consumers.items()
            await proxy.say(connection, marshal(Basic.Cancel(consumer_tag=consumer, nowait=True), 1))
            assert "the broker ended the consumer" in await cancelled.until_lost()
            interrupted.let_go.set()
            await closed.until_settled(1)
            await cancelled.until_settled(1)
    if cancels:
        assert "the broker ended the consumer" in reason
        assert "held for longer than its consumer_timeout? then lower prefetch, or raise that" in reason
    else:
        assert reason == (
            "a request was held for longer than the broker's consumer_timeout of 0.3 s; "
            "lower prefetch or max_batch_size, or raise consumer_timeout in rabbitmq.conf"
        )
    replies = [body for _, _, body in await Producer(broker, answers).read()]
    assert sorted(replies) == [b"A", b"B"]
    assert book.stale == []
    for seen in (closed, cancelled):
        assert [request.redelivered for request in seen.received] == [False, True]
        assert [batch.trigger for batch in seen.batches] == ["size", "size"]  # nobody suspects it


def impatient_queue(name: str) -> Topology:
    """From 4.3 on, quorum queues alone wait no longer than so many milliseconds for an ack."""
    return Topology(queue=name, queue_type="quorum", arguments={"x-consumer-timeout": 300})


@asynccontextmanager
async def impatient(broker: Broker) -> AsyncIterator[None]:
    """Channels that are opened now wait 0.3 s for an ack, and look ten times a second."""
    await set_limits(broker, consumer_timeout=300, channel_tick_interval=100)
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await set_limits(broker, consumer_timeout=1_800_000, channel_tick_interval=60_000)


async def set_limits(broker: Broker, **limits: int) -> None:
    changes = [f"application:set_env(rabbit, {name}, {value})" for name, value in limits.items()]
    await broker.rabbitmqctl("eval", f"{', '.join(changes)}.")
