"""Callers give requests up on a real broker, however these were sent and are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event

import anyio
import anyio.to_thread
import pika  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import FixedPolicy, Topology, open_client
from rpcb_trio.errors import CallerCancelled
from rpcb_trio.instruments import Settled
from tests.amqp.producer import PSEUDO_QUEUE
from tests.amqp.serving import serving
from tests.answering import PATIENCE
from tests.rabbitmq import Broker
from tests.scenarios import Running

pytestmark = pytest.mark.usefixtures("limit")

LARGE = 200_000
"""Bytes; larger than what any broker surely takes, so that the client sends it on a channel of its own."""


class Gate:
    """Computes nothing until it is opened, and then all at once."""

    def __init__(self) -> None:
        self.begun, self._opened = Event(), Event()
        self.computed: list[bytes] = []

    def __call__(self, bodies: list[bytes]) -> list[bytes]:
        self.begun.set()
        self._opened.wait(PATIENCE)
        self.computed += [body[:5] for body in bodies]
        return bodies

    def open(self) -> None:
        self._opened.set()

    async def until_it_computes(self) -> None:
        await trio.to_thread.run_sync(self.begun.wait, PATIENCE)


def dropped(running: Running) -> int:
    return sum(
        isinstance(answer.error, CallerCancelled) and ending is Settled.DROPPED
        for answer, ending in running.settled
    )


async def received(running: Running, count: int) -> None:
    while len(running.received) < count:  # noqa: ASYNC110 - it is a real broker that brings them
        await trio.sleep(0.005)


async def test_what_a_client_gives_up_leaves_the_worker_though_it_is_busy(
    broker: Broker, queue: str, limit: None
) -> None:
    gate, exchange = Gate(), broker.fresh_name("x")
    topology = Topology(queue=queue, exchange=exchange, routing_keys=("rpc",), cancel=True)
    async with (
        serving(gate, broker, topology, batching=FixedPolicy(1), prefetch=16) as running,
        open_client(broker.url, cancel=True) as client,
        open_client(broker.url, cancel=True) as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(lambda: client.call(b"first", queue=queue))
        await gate.until_it_computes()
        nursery.start_soon(lambda: other.call(b"other", queue=queue))
        async with trio.open_nursery() as callers:
            for body in (b"small", b"large" * (LARGE // 5)):
                callers.start_soon(lambda body: client.call(body, queue=queue), body)
                through = partial(client.call, exchange=exchange, routing_key="rpc")
                callers.start_soon(through, body)
            await received(running, 6)
            callers.cancel_scope.cancel()
        await running.until_settled(4)
        assert dropped(running) == 4
        gate.open()
    assert gate.computed == [b"first", b"other"]
    assert client.late_replies == 0


async def test_under_asyncio_a_cancelled_task_gives_its_call_up_too(
    broker: Broker, queue: str, limit: None
) -> None:
    gate, is_here = Gate(), Event()

    async def program() -> None:
        async with open_client(broker.url, cancel=True) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.call(b"small", queue=queue))
            await anyio.to_thread.run_sync(is_here.wait, PATIENCE)
            tasks.cancel_scope.cancel()

    topology = Topology(queue=queue, cancel=True)
    async with (
        serving(gate, broker, topology, batching=FixedPolicy(1)) as running,
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(lambda: client.call(b"first", queue=queue))
        await gate.until_it_computes()
        async with trio.open_nursery() as programs:
            programs.start_soon(trio.to_thread.run_sync, anyio.run, program)
            await received(running, 2)
            is_here.set()
        await running.until_settled(1)
        assert dropped(running) == 1
        gate.open()


Send = Callable[..., None]


@contextmanager
def producer(broker: Broker, address: str) -> Iterator[Send]:
    """A program with pika, that gets replies at an address."""
    with broker.channel() as channel:
        if address == PSEUDO_QUEUE:
            channel.basic_consume(address, lambda *_: None, auto_ack=True)

        def send(key: str, name: str, body: bytes = b"", exchange: str = "") -> None:
            properties = pika.BasicProperties(reply_to=address, correlation_id=name)
            channel.basic_publish(exchange, key, body, properties)
            channel.connection.process_data_events(0)

        yield send


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct reply-to", "a queue"])
async def test_who_has_the_address_of_a_reply_can_cancel_its_request_and_nobody_else(
    broker: Broker, queue: str, inbox: str, limit: None, *, is_direct: bool
) -> None:
    gate, topology = Gate(), Topology(queue=queue, cancel=True)
    own, others = (PSEUDO_QUEUE, PSEUDO_QUEUE) if is_direct else (inbox, f"{inbox}-2")
    async with (
        serving(gate, broker, topology, batching=FixedPolicy(1), prefetch=16) as running,
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(lambda: client.call(b"first", queue=queue))
        await gate.until_it_computes()
        with producer(broker, own) as send, producer(broker, others) as forge:
            send(queue, "1", b"one")
            send(queue, "2", b"two")
            forge(queue, "3", b"three")
            await received(running, 4)
            for name in ("1", "3"):  # the second, which is its own, says that the first was heard
                forge(queue, name, exchange="rpcb.cancel")
            send(queue, "2", exchange="rpcb.cancel")
            await running.until_settled(2)
            gate.open()
            await running.until_settled(4)
    assert gate.computed == [b"first", b"one"]
    assert dropped(running) == 2
