"""The worker as a whole, on a real broker, with foreign producers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio

from rpcb_trio import BlockingRpcClient, FixedPolicy, Topology, serve
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.testing import Recorder
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.proxy import open_proxy
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


class Gate:
    """A model that computes nothing until it is let go; the first batch reports itself."""

    def __init__(self) -> None:
        self.entered, self._open = trio.Event(), threading.Event()
        self._token = trio.lowlevel.current_trio_token()

    def open(self) -> None:
        self._open.set()

    def __call__(self, bodies: list[bytes]) -> list[bytes]:
        self._token.run_sync_soon(self.entered.set)
        assert self._open.wait(30)
        return shout(bodies)


@contextmanager
def opened(gate: Gate) -> Iterator[Gate]:
    """No thread may be left at a closed gate."""
    try:
        yield gate
    finally:
        gate.open()


async def test_draining_in_mid_batch_answers_all_that_was_delivered_and_leaves_the_rest(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    producer, recorder = Producer(broker, queue), Recorder()
    answers = broker.fresh_name("answers")
    await declare_durable(broker, queue)
    await producer.declare(answers)
    await producer.send(*(b"%d" % n for n in range(10)), reply_to=answers)
    with opened(Gate()) as gate:
        async with trio.open_nursery() as nursery:
            worker = await nursery.start(
                partial(serve, gate, transport, queue, batching=FixedPolicy(2), instruments=[recorder])
            )
            await gate.entered.wait()
            worker.drain()
            gate.open()
    replies = sorted(int(body) for _, _, body in await producer.read(answers))
    left = sorted(int(body) for _, _, body in await producer.read())
    assert sorted(replies + left) == list(range(10))
    assert len(replies) == len(recorder.received)


async def test_a_worker_that_is_cancelled_in_mid_batch_leaves_its_requests_to_the_next_one(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    producer = Producer(broker, queue)
    with opened(Gate()) as gate:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve, gate, transport, queue, instruments=[]))
            await declare_durable(broker, queue)
            await producer.send(b"first", b"second")
            await gate.entered.wait()
            nursery.cancel_scope.cancel()
    recorder = Recorder()
    async with trio.open_nursery() as nursery:
        start = partial(serve, shout, transport, queue, instruments=[recorder])
        nursery.start_soon(start)
        replies = await producer.call(b"third")
        nursery.cancel_scope.cancel()
    assert [body for _, body in replies] == [b"THIRD"]
    assert [(each.body, each.redelivered) for each in recorder.received] == [
        (b"first", True),
        (b"second", True),
        (b"third", False),
    ]
    assert {batch.size for batch in recorder.batches if batch.trigger == "alone"} == {1}


async def test_heartbeats_go_on_while_the_model_computes_and_the_pipeline_is_full(
    broker: Broker, queue: str
) -> None:
    """One of the ancestor's faults: a full queue blocked the loop that answers heartbeats."""
    producer, recorder = Producer(broker, queue), Recorder()
    transport = AmqpTransport(broker.url, heartbeat=1)
    await declare_durable(broker, queue)
    await producer.send(*(b"%d" % n for n in range(20)))
    with opened(Gate()) as gate:
        async with trio.open_nursery() as nursery:
            worker = await nursery.start(
                partial(serve, gate, transport, queue, batching=FixedPolicy(2), instruments=[recorder])
            )
            await gate.entered.wait()
            await until_a_silent_connection_is_given_up(broker)
            gate.open()
            worker.drain()
    assert not recorder.lost_sessions
    assert len(recorder.settled) == len(recorder.received)


async def until_a_silent_connection_is_given_up(broker: Broker) -> None:
    async with (
        open_proxy(broker.url) as proxy,
        AmqpTransport(proxy.url, heartbeat=1).open_caller() as caller,
    ):
        proxy.freeze()
        with pytest.raises(SessionLost):
            await caller.watch()


async def test_the_topology_of_the_ancestor_is_a_matter_of_settings(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    exchange = broker.fresh_name("asrExchange")
    topology = Topology(queue=queue, exchange=exchange, routing_keys=("rpc-en", "asr-en"))
    producer = Producer(broker, queue)
    answers = broker.fresh_name("answers")
    await producer.declare(answers)
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(partial(serve, shout, transport, topology, instruments=[]))
        await producer.send(b"java", exchange=exchange, key="rpc-en", reply_to=answers)
        await producer.send(b"python", exchange=exchange, key="asr-en", reply_to=answers)
        worker.drain()
    assert sorted(body for _, _, body in await producer.read(answers)) == [b"JAVA", b"PYTHON"]


async def test_ordinary_threads_call_through_the_blocking_client(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    def call_from_threads() -> list[bytes]:
        with BlockingRpcClient(broker.url) as client:
            replies: dict[int, bytes] = {}
            threads = [
                threading.Thread(
                    target=lambda n=n: replies.update({n: client.call(b"call %d" % n, queue=queue).body})
                )
                for n in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return [replies[n] for n in range(8)]

    async with trio.open_nursery() as nursery:
        worker = await nursery.start(partial(serve, shout, transport, queue, instruments=[]))
        assert await trio.to_thread.run_sync(call_from_threads) == [b"CALL %d" % n for n in range(8)]
        worker.drain()
