"""A broker that is short of memory or disk, and a worker behind it."""

from __future__ import annotations

import threading
from functools import partial
from http import HTTPStatus

import pytest
import trio

from rpcb_trio import FixedPolicy, HealthInstrument, Worker, serve
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.health import HealthPort
from rpcb_trio.instruments import Condition, Settled
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.watched import Watched
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")


class Stepped:
    """A model that computes as many batches as it is let."""

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)

    def let(self, batches: int) -> None:
        self._permits.release(batches)

    def __call__(self, bodies: list[bytes]) -> list[bytes]:
        assert self._permits.acquire(timeout=30)
        return [body.upper() for body in bodies]


ALARMS = {
    "memory": ("set_vm_memory_high_watermark", "0.00001", "0.4"),
    "disk": ("set_disk_free_limit", "100000GB", "1MB"),
}
"""What is set, to what there is not, and to what it was."""


async def write_until_refused(transport: AmqpTransport) -> None:
    """RabbitMQ may tell a new connection of its alarm a moment after it is open."""
    while True:
        async with transport.open_examination() as asked:
            await asked.refusal_to_write("")


@pytest.mark.parametrize("resource", ALARMS)
async def test_under_an_alarm_it_consumes_and_acks_up_to_the_prefetch_says_blocked_and_answers_all_after_it(
    broker: Broker, queue: str, resource: str
) -> None:
    setting, too_much, usual = ALARMS[resource]
    transport, told = AmqpTransport(broker.url), f"low on {resource}"
    producer, answers = Producer(broker, queue), broker.fresh_name("answers")
    await declare_durable(broker, queue, answers)
    await producer.send(b"first", reply_to=answers)
    await producer.send(b"wants no reply")
    await producer.send(*(b"%d" % n for n in range(8)), reply_to=answers)
    model, seen, health = Stepped(), Watched(), HealthInstrument("asr")
    async with trio.open_nursery() as nursery:
        worker: Worker = await nursery.start(
            partial(
                serve,
                model,
                transport,
                queue,
                batching=FixedPolicy(1),
                prefetch=4,
                instruments=[health, seen],
            )
        )
        assert health.health.ready
        await broker.rabbitmqctl(setting, too_much)
        try:
            model.let(1)
            await seen.until(lambda seen: seen.blockages)
            blocked = health.health
            response = HealthPort([health]).answer("/readyz")
            model.let(9)
            await seen.until(lambda seen: len(seen.batches) == 5)  # one that was acked, and the prefetch
            await seen.until(lambda seen: len(seen.service_times) == 5)
            with pytest.raises(SessionLost, match=told):
                await write_until_refused(transport)
            acked, held = [settled for _, settled in seen.settled], worker.held
        finally:
            await broker.rabbitmqctl(setting, usual)
        await seen.until(lambda seen: len(seen.settled) == 10)
        worker.drain()
    assert (blocked.condition, blocked.reason) == (Condition.BLOCKED, told)
    assert response.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert (acked, held) == ([Settled.NO_REPLY_TO], 4)
    assert seen.blockages == [told, None]
    replies = sorted(body for _, _, body in await producer.read(answers))
    assert replies == sorted([b"FIRST", *(b"%d" % n for n in range(8))])
    assert not seen.lost_sessions
