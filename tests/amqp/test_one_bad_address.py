"""A reply address that gives trouble costs the replies to it, and no reply to anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from pika import BasicProperties  # type: ignore[import-untyped] # it carries no types

from rpcb_trio import Topology
from rpcb_trio._transports._amqp._session import _settlement
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Settled
from tests.amqp.producer import Producer
from tests.amqp.proxy import open_proxy
from tests.amqp.watched import Model, Watched, working
from tests.amqp.withholding import Withholding
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")


@asynccontextmanager
async def withholding(broker: Broker, topology: Topology, queue: str) -> AsyncIterator[Watched]:
    """A worker that never hears of the replies to a queue."""
    async with open_proxy(broker.url, kind=Withholding) as proxy:
        assert isinstance(proxy, Withholding)
        proxy.queue = queue.encode()
        async with working(Model(0), AmqpTransport(proxy.url), topology, 2) as seen:
            yield seen


def shortened(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    for name, value in seconds.items():
        monkeypatch.setattr(_settlement, name, value)


def ended(seen: Watched, name: bytes) -> list[Settled]:
    return [ending for answer, ending in seen.settled if answer.request.body.startswith(name)]


def more_good(answered: int, seen: Watched) -> bool:
    return len(ended(seen, b"also good")) > answered


async def test_confirms_that_never_come_for_one_queue_hold_up_nobody_else_and_are_told_and_given_up(  # noqa: PLR0917 - pytest gives them
    broker: Broker,
    topology: Topology,
    dead: str,
    inbox: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shortened(monkeypatch, SLOW_SECONDS=0.05, LOOK_SECONDS=0.05, CONFIRM_SECONDS=2.0, STALL_SECONDS=1.9)
    producer, mute = Producer(broker, topology.queue), broker.fresh_name("mute")
    await producer.declare(mute)
    topology = Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with withholding(broker, topology, mute) as seen:
        await producer.send(
            b"mute 1", b"mute 2", b"mute 3", reply_to=mute
        )  # more than there are replying tasks
        for n in range(20):
            await producer.send(b"good %d" % n, reply_to=inbox)
        await seen.until(lambda seen: len(ended(seen, b"good")) == 20)
        assert ended(seen, b"mute") == [], "they still wait"
        with broker.channel() as channel:  # a connection for each takes 5 s now and then, on RabbitMQ 4
            while len(ended(seen, b"mute")) < 3:
                answered = len(ended(seen, b"also good"))
                channel.basic_publish("", topology.queue, b"also good", BasicProperties(reply_to=inbox))
                await seen.until(partial(more_good, answered))
        assert seen.lost_sessions == []
        assert seen.is_ready
    assert set(ended(seen, b"mute")) == {Settled.REJECTED}
    assert len(await producer.read(dead)) == 3
    assert caplog.text.count("did not confirm it within") == 3


async def test_where_no_reply_is_confirmed_the_worker_is_not_ready_and_gives_all_back(
    broker: Broker, topology: Topology, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortened(monkeypatch, SLOW_SECONDS=0.05, LOOK_SECONDS=0.05, CONFIRM_SECONDS=1.0, STALL_SECONDS=0.2)
    producer, mute = Producer(broker, topology.queue), broker.fresh_name("mute")
    await producer.declare(mute)
    topology = Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with withholding(broker, topology, mute) as seen:
        await producer.send(b"mute 1", b"mute 2", b"mute 3", reply_to=mute)
        await seen.until(lambda seen: seen.blockages)
        assert not seen.is_ready
        assert "no reply was confirmed" in str(seen.blockages[0])
        assert "the broker has confirmed no reply" in await seen.until_lost()
    assert seen.settled == []
    assert await producer.read(dead) == []


async def test_a_full_reply_queue_keeps_few_others_waiting_and_the_rest_goes_to_the_dead_letters_at_once(
    broker: Broker, topology: Topology, dead: str, inbox: str
) -> None:
    producer, full = Producer(broker, topology.queue), broker.fresh_name("full")
    await producer.declare(full, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    topology = Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with working(Model(0), AmqpTransport(broker.url), topology, 8) as seen:
        await producer.send(*(b"full %d" % n for n in range(60)), reply_to=full)
        await producer.send(b"good", reply_to=inbox)
        await seen.until(lambda seen: ended(seen, b"good"))
        assert len(ended(seen, b"full")) < 60, "some are offered again still"
        await seen.until_settled(61)
        assert seen.lost_sessions == []
    assert set(ended(seen, b"full")) == {Settled.REJECTED}
    assert len(await producer.read(dead)) == 60
