"""When a request expires, as it is written on the wire, and what a worker on RabbitMQ does about it."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import pika.data  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import FixedPolicy, Reply, Request, Topology, open_client, serve
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.testing import Recorder
from tests.amqp.producer import Producer
from tests.amqp.test_worker_on_rabbitmq import Gate, opened, shout
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

ROUNDING = 1e-5
"""Seconds; what a UNIX time in a float can't tell."""


class Counting(Recorder):
    """Lets a test wait until so many requests have come."""

    def __init__(self) -> None:
        super().__init__()
        self._came = trio.Event()

    def requests_received(self, requests: Sequence[Request]) -> None:
        super().requests_received(requests)
        self._came.set()
        self._came = trio.Event()

    async def wait_for(self, count: int) -> None:
        while len(self.received) < count:
            await self._came.wait()


pika_encodes = pika.data.encode_value


def encode_doubles(pieces: list[bytes], value: Any) -> int:
    """What pika can't send, and others do: a float in 64 bits."""
    if not isinstance(value, float):
        return int(pika_encodes(pieces, value))
    pieces.append(b"d" + struct.pack(">d", value))
    return 9


async def delivered(
    broker: Broker, transport: AmqpTransport, topology: Topology, **properties: Any
) -> tuple[Request, float]:
    """A request that was sent with these properties, and how long it was under way at most, in seconds."""
    stamped = time.time()  # by the test, before the session opened
    async with transport.open_session(topology, prefetch=1) as session:
        await Producer(broker, topology.queue).send(b"a", **properties)
        request = await session.requests.receive()
        return request, time.time() - stamped


def left(request: Request) -> float:
    """The seconds that it had left when it arrived."""
    assert request.deadline is not None
    return request.deadline - request.arrived


async def test_an_expiration_counts_from_the_brokers_time_stamp(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    stamp = int(1000 * (time.time() - 20))
    started = time.time()
    request, _ = await delivered(
        broker, transport, topology, expiration="60000", headers={"timestamp_in_ms": stamp}
    )
    under_way = time.time() - started
    assert 40 - under_way - 0.001 - ROUNDING <= left(request) <= 40 + ROUNDING


async def test_an_expiration_counts_from_the_end_of_the_timestamps_second(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    sent = time.time() - 20
    request, under_way = await delivered(broker, transport, topology, expiration="60000", timestamp=int(sent))
    assert 40 - under_way - ROUNDING <= left(request) <= 41 + ROUNDING


@pytest.mark.parametrize("ahead", [0, 3600])
async def test_a_producers_clock_never_lengthens_an_expiration(
    broker: Broker, transport: AmqpTransport, topology: Topology, ahead: int
) -> None:
    stamp = int(time.time()) + ahead
    request, under_way = await delivered(
        broker,
        transport,
        topology,
        expiration="60000",
        timestamp=stamp,
        headers={"timestamp_in_ms": 1000 * stamp + 999},
    )
    assert 60 - under_way - 1 <= left(request) <= 60 + ROUNDING


@pytest.mark.parametrize("seconds", [30, 30.25])
async def test_a_header_may_name_the_deadline_itself(
    broker: Broker,
    transport: AmqpTransport,
    topology: Topology,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pika.data.encode_value", encode_doubles)
    deadline = int(time.time()) + seconds
    request, under_way = await delivered(
        broker, transport, topology, expiration="60000", headers={"rpcb-deadline": deadline}
    )
    assert seconds - 1 - under_way - ROUNDING <= left(request) <= seconds + ROUNDING


async def test_a_deadline_that_was_rounded_to_32_bits_is_not_early(
    transport: AmqpTransport, topology: Topology
) -> None:
    """As pamqp, and so our own client, writes a float."""
    async with transport.open_session(topology, prefetch=1) as session, open_client(transport) as client:
        started = time.time()
        async with trio.open_nursery() as nursery:
            headers = {"rpcb-deadline": started + 300}
            call = partial(client.call, b"a", queue=topology.queue, headers=headers, timeout=1000)
            nursery.start_soon(call)
            request = await session.requests.receive()
            nursery.cancel_scope.cancel()
        assert 300 - (time.time() - started) - ROUNDING <= left(request) <= 300 + 128


@pytest.mark.parametrize(
    "value",
    ["soon", b"\xff", True, None, -5, Decimal("1.5"), datetime(1999, 1, 1, tzinfo=UTC), [1], {"a": 1}],
    ids=repr,
)
async def test_what_is_no_time_is_ignored(
    broker: Broker, transport: AmqpTransport, topology: Topology, value: object
) -> None:
    headers = {"rpcb-deadline": value, "timestamp_in_ms": value}
    request, _ = await delivered(broker, transport, topology, expiration="60000", headers=headers)
    assert left(request) == pytest.approx(60, abs=ROUNDING)


async def test_an_answer_without_a_reply_is_acked_among_others_that_are_sent(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"a", b"b", b"c", reply_to=inbox)
        held = [await session.requests.receive() for _ in range(3)]
        replies = [Reply(body=b"A"), None, Reply(body=b"C")]
        settled = await session.settle([Answer(*each) for each in zip(held, replies, strict=True)])
    assert settled == [Settled.REPLIED, Settled.DROPPED, Settled.REPLIED]
    assert sorted(body for _, _, body in await producer.read(inbox)) == [b"A", b"C"]
    assert await producer.read() == []


@pytest.mark.parametrize(("expired", "codes"), [("answer", [None, "expired"]), ("drop", [None])])
async def test_what_expired_by_the_brokers_clock_is_answered_or_dropped_as_set(
    broker: Broker,
    transport: AmqpTransport,
    queue: str,
    expired: Literal["answer", "drop"],
    codes: list[str | None],
) -> None:
    producer, inbox, recorder = Producer(broker, queue), broker.fresh_name("inbox"), Recorder()
    await producer.declare(inbox)
    old = {"timestamp_in_ms": int(1000 * time.time()) - 120_000}
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(
            partial(serve, shout, transport, queue, expired=expired, instruments=[recorder])
        )
        await producer.send(b"stale", reply_to=inbox, expiration="60000", headers=old)
        await producer.send(b"fresh", reply_to=inbox, expiration="60000")
        worker.drain()
    replies = await producer.read(inbox)
    assert b"FRESH" in {body for _, _, body in replies}
    found = [(properties.headers or {}).get("rpcb-error") for _, properties, _ in replies]
    assert sorted(found, key=str) == codes
    assert await producer.read() == []
    assert len(recorder.settled) == 2


async def test_who_is_one_too_many_is_refused_while_the_model_computes(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    received = Counting()
    with opened(Gate()) as gate:
        async with trio.open_nursery() as nursery, open_client(transport) as client:
            worker = await nursery.start(
                partial(
                    serve,
                    gate,
                    transport,
                    queue,
                    batching=FixedPolicy(1),
                    max_pending=1,
                    instruments=[received],
                )
            )
            bodies: dict[bytes, bytes] = {}

            async def call(body: bytes) -> None:
                bodies[body] = (await client.call(body, queue=queue)).body

            async with trio.open_nursery() as calls:
                calls.start_soon(call, b"first")
                await gate.entered.wait()
                calls.start_soon(call, b"second")
                await received.wait_for(2)
                reply = await client.call(b"third", queue=queue)
                gate.open()
            worker.drain()
    assert bodies == {b"first": b"FIRST", b"second": b"SECOND"}
    assert (reply.error, reply.body[:11]) == ("overloaded", b"overloaded:")


async def test_a_call_of_higher_priority_is_computed_first(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    recorder = Counting()
    with opened(Gate()) as gate:
        async with trio.open_nursery() as nursery, open_client(transport) as client:
            worker = await nursery.start(
                partial(
                    serve,
                    gate,
                    transport,
                    queue,
                    batching=FixedPolicy(1, ageing=60),
                    prefetch=10,
                    instruments=[recorder],
                )
            )
            async with trio.open_nursery() as calls:
                calls.start_soon(partial(client.call, b"first", queue=queue))
                await gate.entered.wait()
                for body, priority in ((b"none", None), (b"low", 1), (b"high", 9), (b"highest", 255)):
                    calls.start_soon(partial(client.call, body, queue=queue, priority=priority))
                await recorder.wait_for(5)
                gate.open()
            worker.drain()
    order = [member.request.body for batch in recorder.batches for member in batch.members]
    assert order == [b"first", b"highest", b"high", b"low", b"none"]
    assert {each.body: each.priority for each in recorder.received} == {
        b"first": 0,
        b"none": 0,
        b"low": 1,
        b"high": 9,
        b"highest": 255,
    }
