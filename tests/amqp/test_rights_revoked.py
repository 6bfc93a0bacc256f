"""A worker that may not write any more stops consuming and requeues what it holds; no request pays for it."""

from __future__ import annotations

import pytest

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.users import add_user, permit, tell, url_of
from tests.amqp.watched import Model, Watched, short_waits, working
from tests.rabbitmq import Node

pytestmark = pytest.mark.usefixtures("limit")

COUNT = 200

CLOSE = """
[rabbit_networking:close_connection(Pid, "test")
 || [{{pid, Pid}}, {{client_properties, Of}}] <-
        rabbit_networking:connection_info_all([pid, client_properties]),
    is_list(Of), lists:member({{<<"connection_name">>, longstr, <<"{0} (out)">>}}, Of)]
"""
"""Closes a worker's connection for replies: on an open channel the broker remembers what it has allowed.

Of a connection that is being opened it does not know the properties yet, nor has it allowed anything there.
"""


class Site:
    """A queue with dead letters, an inbox, and a worker's user whose rights change."""

    def __init__(self, node: Node, queue_type: str) -> None:
        self.node = node
        self.queue, self.dead, self.inbox, self.exchange, self.user = map(
            node.fresh_name, ("queue", "dead", "inbox", "x", "user")
        )
        self.producer = Producer(node, self.queue)
        self.topology = Topology(
            queue=self.queue,
            queue_type=queue_type,  # type: ignore[arg-type] # of the parameters
            dead_letter_exchange="",
            dead_letter_routing_key=self.dead,
            arguments={"x-delivery-limit": 3} if queue_type == "quorum" else {},
        )
        self.transport = AmqpTransport(url_of(node, self.user), name=self.user)

    async def prepare(self) -> None:
        await declare_durable(self.node, self.dead, self.inbox)
        with self.node.channel() as channel:
            channel.exchange_declare(self.exchange, "direct")
            channel.queue_bind(self.inbox, self.exchange, self.inbox)
        await tell(self.node, add_user(self.user), permit(self.user))

    async def permit(self, write: str) -> None:
        await tell(self.node, permit(self.user, write=write), CLOSE.format(self.user))

    async def ask(self, name: str, count: int, reply_to: str) -> set[bytes]:
        bodies = [f"{name} {n}".encode() for n in range(count)]
        await self.producer.send(*bodies, reply_to=reply_to, delivery_mode=2)
        return {body.upper() for body in bodies}

    async def answered(self) -> set[bytes]:
        return {body for _, _, body in await self.producer.read(self.inbox)}


async def until_ready(seen: Watched) -> None:
    await seen.until_back()


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("by_exchange", [False, True], ids=["queue", "exchange"])
async def test_when_the_right_to_write_is_taken_no_request_is_lost_and_all_are_answered_once_it_is_back(
    node: Node, queue_type: str, *, by_exchange: bool
) -> None:
    site = Site(node, queue_type)
    await site.prepare()
    reply_to = f"{site.exchange}/{site.inbox}" if by_exchange else site.inbox
    with short_waits():
        async with working(Model(0), site.transport, site.topology, 8) as seen:
            wanted = await site.ask("before", 3, reply_to)
            await seen.until_settled(3)
            await site.permit("^amq\\.default$" if by_exchange else "^$")
            wanted |= await site.ask("meanwhile", COUNT, reply_to)
            why = await seen.until_lost()
            assert "may not publish" in why
            assert (site.exchange if by_exchange else "amq.default") in why
            await seen.until_refused(3 + 20 * (queue_type == "quorum"))
            assert "may not publish" in str(seen.failed_attempts[-1])
            assert await site.producer.count(site.queue) == COUNT
            await site.permit(".*")
            await until_ready(seen)
            await seen.until_settled(3 + COUNT)
            assert len(seen.lost_sessions) == 1
    assert await site.answered() == wanted
    assert await site.producer.read(site.dead) == []


async def test_when_the_right_to_write_dead_letters_is_taken_no_request_is_dropped(node: Node) -> None:
    site = Site(node, "classic")
    await site.prepare()
    exchange = node.fresh_name("dlx")
    with node.channel() as channel:
        channel.exchange_declare(exchange, "fanout", durable=True)
        channel.queue_bind(site.dead, exchange)
    # The queue itself has no dead-letter exchange, so what is rejected would be dropped.
    await declare_durable(node, site.queue)
    topology = Topology(queue=site.queue, declare="never", dead_letter_exchange=exchange)
    full = node.fresh_name("full")
    await site.producer.declare(full, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    with short_waits():
        async with working(Model(0), site.transport, topology, 1) as seen:
            await site.permit("^amq\\.default$")
            await site.ask("kept", 5, full)
            assert exchange in await seen.until_lost()
            await seen.until_refused(2)
            assert await site.producer.count(site.queue) == 5
            await site.permit(".*")
            await until_ready(seen)
            await seen.until_settled(5)
    assert {body for _, _, body in await site.producer.read(site.dead)} == {b"kept %d" % n for n in range(5)}


async def test_an_exchange_that_no_reply_ever_passed_is_its_requests_own_fault_and_stops_nobody(
    node: Node,
) -> None:
    site = Site(node, "classic")
    await site.prepare()
    await site.permit("^amq\\.default$")
    async with working(Model(0), site.transport, site.topology, 8) as seen:
        await site.ask("evil", 3, f"amq.topic/{site.inbox}")
        wanted = await site.ask("good", 3, site.inbox)
        await seen.until_settled(6)
        assert seen.lost_sessions == []
    assert await site.answered() == wanted
    dead_lettered = {body for _, _, body in await site.producer.read(site.dead)}
    assert dead_lettered == {b"evil %d" % n for n in range(3)}
