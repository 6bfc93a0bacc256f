"""Quorum queues, whose ways differ from version to version: what goes round, and who is first."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.lowlevel

from rpcb_trio import FixedPolicy, Reply, Topology, serve
from rpcb_trio._transports._amqp._limits import unset_priority
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer
from tests.amqp.test_amqp_deadlines import Counting
from tests.amqp.test_worker_on_rabbitmq import Gate, opened
from tests.rabbitmq import Broker

LIMIT = 2


@pytest.fixture
def topology(queue: str, dead: str) -> Topology:
    """With a low limit of deliveries, beyond which the broker itself buries a request."""
    return Topology(
        queue=queue,
        queue_type="quorum",
        on_refused_reply="requeue",
        arguments={
            "x-delivery-limit": LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead,
        },
    )


async def test_what_is_given_back_goes_round_for_ever_from_4_3_on_and_until_the_limit_before(
    broker: Broker, transport: AmqpTransport, topology: Topology, dead: str
) -> None:
    producer, full = Producer(broker, topology.queue), broker.fresh_name("full")
    await producer.declare(full, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    endless = broker.version >= (4, 3)
    rounds = 2 * LIMIT + 1 if endless else LIMIT + 1
    async with transport.open_session(topology, prefetch=1) as session:
        await producer.send(b"a", reply_to=full)
        for _ in range(rounds):
            request = await session.requests.receive()
            settled = await session.settle([Answer(request, Reply(body=b"A"))])
            assert settled == [Settled.REQUEUED]
        if endless:
            again = await session.requests.receive()
            assert "x-delivery-count" not in again.headers
            assert again.redelivered
            return
    while not (letters := await producer.read(dead)):  # noqa: ASYNC110 - nobody tells
        await trio.sleep(0.05)
    [(_, properties, _)] = letters
    assert properties.headers["x-death"][0]["reason"] == "delivery_limit"


async def test_what_a_worker_that_is_stopped_had_not_begun_counts_towards_no_limit_from_4_3_on(
    broker: Broker, transport: AmqpTransport, topology: Topology, dead: str
) -> None:
    async with transport.open_session(topology, prefetch=1):
        pass
    producer, counts = Producer(broker, topology.queue), dict[bytes, list[object]]()
    await producer.send(b"first", b"second", b"third")
    for _ in range(2):
        recorder = Counting()
        with opened(Gate()) as gate:
            async with trio.open_nursery() as nursery:
                start = partial(
                    serve,
                    gate,
                    transport,
                    topology,
                    batching=FixedPolicy(1),
                    prefetch=4,
                    instruments=[recorder],
                )
                await nursery.start(start)
                await gate.entered.wait()
                await recorder.wait_for(3)
                nursery.cancel_scope.cancel()
        for request in recorder.received:
            counts.setdefault(request.body, []).append(request.headers.get("x-delivery-count", 0))
        await trio.lowlevel.checkpoint()
    begun = {batch.members[0].request.body for batch in recorder.batches}
    assert len(begun) == 1
    if broker.version >= (4, 3):
        assert all(seen == [0, 0] for body, seen in counts.items() if body != b"first")
        assert counts[b"first"] == [0, 1]
    else:
        assert all(seen == [0, 1] for seen in counts.values()), "once, not twice"


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_a_request_without_a_priority_has_the_rank_that_the_broker_gives_it(
    broker: Broker, transport: AmqpTransport, queue: str, queue_type: str
) -> None:
    topology = Topology(queue=queue, arguments={"x-queue-type": queue_type})
    producer = Producer(broker, queue)
    async with transport.open_session(topology, prefetch=10):
        pass
    for body, priority in ((b"low", 1), (b"unset", None), (b"high", 9)):
        await producer.send(body, priority=priority)
    async with transport.open_session(topology, prefetch=10) as session:
        came = [await session.requests.receive() for _ in range(3)]
    ranks = {request.body: request.priority for request in came}
    strict = queue_type == "quorum" and broker.version >= (4, 3)
    assert ranks == {b"low": 1, b"unset": 4 if strict else 0, b"high": 9}
    if strict:
        assert [request.body for request in came] == [b"high", b"unset", b"low"]


@pytest.mark.parametrize(
    ("product", "version", "queue_type", "rank"),
    [
        ("RabbitMQ", "4.3.0", "quorum", 4),
        ("RabbitMQ", "5.0.0-beta.1", "quorum", 4),
        (b"RabbitMQ", b"4.10.1", "quorum", 4),
        ("RabbitMQ", "4.2.9", "quorum", 0),
        ("RabbitMQ", "3.13.7", "quorum", 0),
        ("RabbitMQ", "4.3.0", "classic", 0),
        ("RabbitMQ", "?", "quorum", 0),
        ("LavinMQ", "4.3.0", "quorum", 0),
    ],
)
def test_the_rank_of_a_request_without_a_priority_goes_by_version_and_type(
    product: object, version: object, queue_type: str, rank: int
) -> None:
    topology = Topology(queue="q", arguments={"x-queue-type": queue_type})
    assert unset_priority({"product": product, "version": version}, topology) == rank
