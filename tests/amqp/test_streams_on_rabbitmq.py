"""Replies in parts, over a real broker."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from anyio.from_thread import BlockingPortal
from pika import BasicProperties  # type: ignore[import-untyped] # it carries no types

from rpcb_trio import BlockingRpcClient, FixedPolicy, Topology, open_client
from rpcb_trio._pipeline import _streaming
from rpcb_trio._transports._amqp._session import _direct_callers, _outbox
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Settled
from rpcb_trio.streaming import Step, by_item
from tests.amqp.producer import Producer
from tests.amqp.serving import serving
from tests.answering import PATIENCE, answering
from tests.blocks import ROOT
from tests.cli.processes import command
from tests.rabbitmq import Broker
from tests.scenarios import Running

ASKS = {"rpcb-stream": True}
PARTS = 50


def counting(bodies: list[bytes]) -> Iterator[Step[bytes]]:
    """Yields 50 parts for each body."""
    yield from by_item([b"%b %d" % (body, number) for number in range(PARTS)] for body in bodies)


def endless(bodies: list[bytes]) -> Generator[Step[bytes], Collection[int], None]:
    """Yields parts for each body until nobody wants them; for `short` one only."""
    live = set(range(len(bodies)))
    for number in count():
        live -= {*(yield dict.fromkeys(live, b"%d" % number))}
        if not number:
            live -= {item for item in live if bodies[item] == b"short"}
        time.sleep(0.002)


def parts_of(body: bytes) -> list[tuple[int | None, bytes]]:
    return [(number, b"%b %d" % (body, number)) for number in range(PARTS)]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_the_parts_of_many_replies_come_in_order_each_to_its_caller(
    broker: Broker, portal: BlockingPortal, backend: str
) -> None:
    came = dict[int, list[tuple[int | None, bytes]]]()

    async def main(queue: str) -> None:
        async def call(number: int) -> None:
            stream = client.stream(b"%d" % number, queue=queue)
            came[number] = [(part.part, part.body) async for part in stream]

        with anyio.fail_after(PATIENCE):
            async with open_client(broker.url) as client, anyio.create_task_group() as calls:
                for number in range(8):
                    calls.start_soon(call, number)

    with answering(portal, broker, counting) as queue:
        anyio.run(main, queue, backend=backend)
    assert came == {number: parts_of(b"%d" % number) for number in range(8)}


def test_a_blocking_caller_gets_parts_as_they_come_and_may_leave_in_their_midst(
    broker: Broker, portal: BlockingPortal
) -> None:
    with answering(portal, broker, counting) as queue, BlockingRpcClient(broker.url) as client:
        for part in client.stream(b"left", queue=queue):
            if part.part == 3:
                break
        assert [(part.part, part.body) for part in client.stream(b"x", queue=queue)] == parts_of(b"x")
        assert client.call(b"x", queue=queue).body == b"".join(body for _, body in parts_of(b"x"))


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether direct callers are still there."""
    monkeypatch.setattr(_streaming, "CALLERS_SECONDS", 0.05)
    monkeypatch.setattr(_direct_callers, "FRESH_SECONDS", 0.0)


def endings(running: Running) -> dict[bytes, Settled]:
    return {answer.request.body: ending for answer, ending in running.settled}


@pytest.mark.usefixtures("limit")
async def test_a_caller_that_leaves_ends_its_generator_whatever_its_address(
    broker: Broker, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_often(monkeypatch)
    producer, replies = Producer(broker, topology.queue), broker.fresh_name("replies")
    await producer.declare(replies)
    async with serving(endless, broker, topology, batching=FixedPolicy(1), replicas=2) as running:
        properties = BasicProperties(reply_to=replies, headers=ASKS)
        with broker.channel() as channel:
            channel.basic_publish("", topology.queue, b"named", properties)
        async with open_client(AmqpTransport(broker.url)) as client:
            async for part in client.stream(b"direct", queue=topology.queue):
                if part.part == 5:
                    break
        await producer.delete(replies)
        await running.until_settled(2)
    assert endings(running) == {b"named": Settled.UNROUTABLE, b"direct": Settled.UNROUTABLE}


@pytest.mark.usefixtures("limit")
async def test_a_reply_queue_that_is_full_ends_its_own_reply_and_holds_up_no_other(
    broker: Broker, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_often(monkeypatch)
    monkeypatch.setattr(_outbox, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(_outbox, "LAST_RETRY", 0.02)
    producer, full = Producer(broker, topology.queue), broker.fresh_name("full")
    await producer.declare(full, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    policy = FixedPolicy(2, max_wait=60.0)
    async with (
        serving(endless, broker, topology, batching=policy) as running,
        open_client(AmqpTransport(broker.url)) as client,
        trio.open_nursery() as nursery,
    ):

        async def call() -> None:
            async for part in client.stream(b"good", queue=topology.queue):
                if endings(running) and part.part:
                    break

        nursery.start_soon(call)
        with broker.channel() as channel:
            channel.basic_publish("", topology.queue, b"full", BasicProperties(reply_to=full, headers=ASKS))
        await running.until_settled(1)
    assert endings(running)[b"full"] is Settled.REJECTED


@pytest.mark.usefixtures("limit")
async def test_where_a_worker_is_killed_another_begins_anew_and_its_caller_gets_each_part_once(
    broker: Broker, topology: Topology, tmp_path: Path
) -> None:
    came, halfway = list[tuple[int | None, bytes]](), trio.Event()
    target = f"{__name__}:counting_slowly"
    given = ("serve", target, "--queue", topology.queue, "--url", broker.url, "--journal", "off")
    async with open_client(AmqpTransport(broker.url)) as client, trio.open_nursery() as nursery:

        async def call() -> None:
            async for part in client.stream(b"x", queue=topology.queue, timeout=PATIENCE):
                came.append((part.part, part.body))
                if part.part == 5:
                    halfway.set()

        async with command(*given, cwd=tmp_path, PYTHONPATH=str(ROOT)) as doomed:
            await doomed.line_with("consuming")
            nursery.start_soon(call)
            await halfway.wait()
            doomed.send(signal.SIGKILL)
            await doomed.end()
        async with serving(counting, broker, topology) as running:
            await running.until_settled(1)
    assert running.settled[0][0].request.redelivered
    assert came == parts_of(b"x")


def counting_slowly(bodies: list[bytes]) -> Iterator[Any]:
    """As `counting`, never to its end."""
    for number, step in enumerate(counting(bodies)):
        time.sleep(0.01 if number < 10 else 60)
        yield step
