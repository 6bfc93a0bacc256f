"""A session changes its consumer: RabbitMQ and the embedded broker do the same.

Each test of `either` runs on both, and on RabbitMQ with a classic and a quorum queue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any, Literal

import msgspec
import pytest
import trio

from rpcb_trio import MemoryBroker, Reply, Request, Topology
from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.transports import Session, Transport
from tests.amqp.producer import Producer
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

QUEUE_TYPES: dict[str, Literal["classic", "quorum"]] = {"embedded": "classic", "classic": "classic"}
QUEUE_TYPES["quorum"] = "quorum"


class Queue:
    """A queue of either broker, with its workers' sessions."""

    def __init__(self, transport: Transport, topology: Topology, broker: Broker | None) -> None:
        self._transport = transport
        self.topology = topology
        self.producer = None if broker is None else Producer(broker, topology.queue)

    @asynccontextmanager
    async def session(self, prefetch: int) -> AsyncIterator[Session]:
        async with self._transport.open_session(self.topology, prefetch=prefetch) as session:
            yield session

    async def send(self, *bodies: bytes) -> None:
        if self.producer is not None:
            await self.producer.send(*bodies)
            return
        assert isinstance(self._transport, MemoryBroker)
        for body in bodies:
            self._transport.publish(body, routing_key=self.topology.queue)

    async def read(self) -> list[bytes]:
        """Take all that lies there, undelivered."""
        if self.producer is not None:
            return [body for _, _, body in await self.producer.read()]
        assert isinstance(self._transport, MemoryBroker)
        taken = list[bytes]()
        while (message := self._transport.get(self.topology.queue)) is not None:
            taken.append(message.body)
        return taken


@pytest.fixture(params=QUEUE_TYPES)
def either(request: pytest.FixtureRequest) -> Queue:
    """A queue of the embedded broker, or of RabbitMQ."""
    topology = Topology(queue="q", queue_type=QUEUE_TYPES[request.param])
    if request.param == "embedded":
        return Queue(MemoryBroker(), topology, None)
    broker: Broker = request.getfixturevalue("broker")
    topology = Topology(queue=broker.fresh_name(), queue_type=QUEUE_TYPES[request.param])
    return Queue(AmqpTransport(broker.url), topology, broker)


async def taken(session: Session, count: int) -> list[Request]:
    return [await session.requests.receive() for _ in range(count)]


async def settle(session: Session, *requests: Request) -> None:
    answers = [Answer(request, Reply(body=b"")) for request in requests]
    assert set(await session.settle(answers)) <= {Settled.NO_REPLY_TO}


def bodies(requests: list[Request]) -> list[bytes]:
    return [request.body for request in requests]


async def test_the_new_prefetch_holds_beside_what_was_held_before(either: Queue) -> None:
    async with either.session(prefetch=2) as session:
        await either.send(b"a", b"b", b"c", b"d", b"e", b"f")
        held = await taken(session, 2)
        assert (session.room(), session.room(held)) == (0, 2)
        await session.reconsume(prefetch=3)
        more = await taken(session, 3)
        assert [session.room(), session.room(held), session.room(held + more[:1])] == [0, 0, 1]
        assert bodies(more) == [b"c", b"d", b"e"]
        await settle(session, *held)  # it makes no room, for they are not the new consumer's
        assert session.room() == 0
        assert await either.read() == [b"f"]
        await settle(session, *more)
        assert session.room() == 3


async def test_what_an_earlier_consumer_brought_is_settled_once_or_delivered_again(either: Queue) -> None:
    async with either.session(prefetch=2) as session:
        await either.send(b"a", b"b", b"c", b"d")
        a, b = await taken(session, 2)
        await session.reconsume(prefetch=2)
        c, d = await taken(session, 2)
        assert [a.redelivered, b.redelivered, c.redelivered, d.redelivered] == [False] * 4
        await settle(session, b, c)
    async with either.session(prefetch=10) as session:
        again = await taken(session, 2)
        assert {(request.body, request.redelivered) for request in again} == {(b"a", True), (b"d", True)}


async def test_the_backlog_is_what_lies_in_the_queue_undelivered(either: Queue) -> None:
    async with either.session(prefetch=2) as session:
        assert (await session.backlog()).ready == 0
        await either.send(b"a", b"b", b"c", b"d", b"e")
        await settle(session, *await taken(session, 2))
        await taken(session, 2)
        assert (await session.backlog()).ready == 1
        async with either.session(prefetch=1) as other:
            await taken(other, 1)
            facts = await session.backlog()
            assert (facts.ready, facts.consumers) == (0, 2)


async def test_with_a_prefetch_of_0_nothing_comes_until_the_next_change(either: Queue) -> None:
    async with either.session(prefetch=5) as session:
        await either.send(b"a")
        [a] = await taken(session, 1)
        await session.reconsume(prefetch=0)
        assert session.room() == 0
        await either.send(b"b", b"c")
        await settle(session, a)
        assert await either.read() == [b"b", b"c"]
        await either.send(b"d", b"e")
        await session.reconsume(prefetch=1)
        assert bodies(await taken(session, 1)) == [b"d"]
        assert await either.read() == [b"e"]


async def test_consumers_of_a_higher_priority_are_served_first_while_they_have_room(either: Queue) -> None:
    async with either.session(prefetch=3) as low, either.session(prefetch=1) as high:
        await low.reconsume(prefetch=3, priority=-7)
        await high.reconsume(prefetch=2, priority=300)
        await either.send(b"a", b"b", b"c", b"d")
        assert bodies(await taken(high, 2)) == [b"a", b"b"]
        assert bodies(await taken(low, 2)) == [b"c", b"d"]
        await low.reconsume(prefetch=3, priority=301)
        await high.reconsume(prefetch=2, priority=300)
        await either.send(b"e", b"f", b"g", b"h")
        assert bodies(await taken(low, 3)) == [b"e", b"f", b"g"]
        assert bodies(await taken(high, 1)) == [b"h"]


async def test_consumers_of_one_priority_are_served_in_turn(either: Queue) -> None:
    async with either.session(prefetch=1) as one, either.session(prefetch=1) as other:
        for session in (one, other):
            await session.reconsume(prefetch=4, priority=-1)
        await either.send(b"a", b"b", b"c", b"d")
        assert len(await taken(one, 2)) == len(await taken(other, 2)) == 2
        assert (one.room(), other.room()) == (2, 2)


async def test_once_consuming_has_stopped_no_change_begins_it_again(either: Queue) -> None:
    async with either.session(prefetch=1) as session:
        await either.send(b"a", b"b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: session.reconsume(prefetch=0))
            nursery.start_soon(session.stop_consuming)
            nursery.start_soon(lambda: session.reconsume(prefetch=1))
        await session.reconsume(prefetch=5)
        held = [request async for request in session.requests]
        await settle(session, *held)
        assert session.room() == 0
    left = await either.read()
    while len(held) + len(left) < 2:  # a quorum queue takes a moment
        await trio.sleep(0.01)
        left += await either.read()
    assert sorted(bodies(held) + left) == [b"a", b"b"]


@pytest.mark.parametrize(
    "either", ["classic", "quorum"], indirect=True
)  # the embedded broker changes at once
async def test_what_is_requeued_while_the_next_consumer_begins_comes_back_to_this_session_no_more(
    either: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with either.session(prefetch=1) as session:
        await either.send(b"a", b"b")
        held = await taken(session, 1)
        limit_prefetch = ControlChannel.limit_prefetch

        async def requeue_meanwhile(channel: ControlChannel, prefetch: int) -> None:
            await limit_prefetch(channel, prefetch)
            session.requeue(held)

        monkeypatch.setattr(ControlChannel, "limit_prefetch", requeue_meanwhile)
        await session.reconsume(prefetch=2)
        assert session.room() == 0
        left = list[bytes]()
        while len(left) < 2:  # the broker takes a moment
            await trio.sleep(0.01)
            left += await either.read()
        assert sorted(left) == [b"a", b"b"]


@pytest.mark.parametrize("either", ["classic", "quorum"], indirect=True)
async def test_a_consumer_that_has_begun_after_a_requeue_is_ended(
    either: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with either.session(prefetch=1) as session:
        await either.send(b"a")
        held = await taken(session, 1)
        consume = ControlChannel.consume

        async def requeue_meanwhile(channel: ControlChannel, *args: Any, **others: Any) -> str:
            tag = await consume(channel, *args, **others)
            session.requeue(held)
            return tag

        monkeypatch.setattr(ControlChannel, "consume", requeue_meanwhile)
        await session.reconsume(prefetch=2)
        await either.send(b"b")  # there is nobody to deliver it to
        left = list[bytes]()
        while b"b" not in left:
            await trio.sleep(0.01)
            left += await either.read()


async def test_however_often_it_changes_under_load_every_request_is_settled_once(either: Queue) -> None:
    """A quorum queue may requeue some that it dealt to a consumer while it was cancelled."""
    sent = {b"%d" % n for n in range(60)}
    settled = list[bytes]()
    async with either.session(prefetch=1) as session, trio.open_nursery() as nursery:

        async def change() -> None:
            for prefetch in cycle((1, 2, 3, 0)):
                await session.reconsume(prefetch=prefetch, priority=prefetch)

        nursery.start_soon(change)
        await either.send(*sent)
        while len(settled) < len(sent):
            request = await session.requests.receive()
            assert not request.redelivered or either.topology.queue_type == "quorum"
            settled.append(request.body)
            await settle(session, request)
        nursery.cancel_scope.cancel()
    assert sorted(settled) == sorted(sent)


async def test_a_consumer_without_room_is_changed_under_load_and_nothing_is_redelivered(
    either: Queue,
) -> None:
    async with either.session(prefetch=2) as session:
        await either.send(*(b"%d" % n for n in range(30)))
        held, seen = await taken(session, 2), list[Request]()
        for prefetch in (3, 1, 1, 5, 4, 6):
            await session.reconsume(prefetch=prefetch)
            seen += held
            await settle(session, *held)
            held = await taken(session, prefetch)
    assert bodies(seen) == [b"%d" % n for n in range(len(seen))]
    assert not any(request.redelivered for request in seen)


async def test_a_queue_that_goes_with_its_last_consumer_stays_when_the_consumer_changes(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    with broker.channel() as channel:
        channel.queue_declare(topology.queue, auto_delete=True)
    passive = msgspec.structs.replace(topology, declare="passive")
    async with transport.open_session(passive, prefetch=1) as session:
        await producer.send(b"a", b"b", b"c")
        held = await taken(session, 1)
        await session.reconsume(prefetch=1)
        held += await taken(session, 1)
        await session.reconsume(prefetch=0)
        await settle(session, *held)
        assert bodies(await taken(session, 1)) == [b"c"]


async def test_a_queue_that_was_deleted_while_nothing_consumed_it_ends_the_session(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=1) as session:
        await session.reconsume(prefetch=0)
        await Producer(broker, topology.queue).delete(topology.queue)
        with pytest.raises(SessionLost, match=f"was queue '{topology.queue}' deleted"):
            await session.reconsume(prefetch=1)
        with pytest.raises(SessionLost):
            await session.watch()


async def test_a_change_that_is_cancelled_half_way_harms_nothing(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=1) as session:
        await Producer(broker, topology.queue).send(b"a", b"b")
        held = await taken(session, 1)
        with trio.move_on_after(0):
            await session.reconsume(prefetch=1)
        await session.reconsume(prefetch=1)
        held += await taken(session, 1)
        await settle(session, *held)
    assert bodies(held) == [b"a", b"b"]
