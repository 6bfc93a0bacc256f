"""The worker on RabbitMQ: each reply that can't be sent becomes one that can, and harms no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rpcb_trio import FixedPolicy, Reply, Request, RequestError, Topology
from rpcb_trio._transports._amqp._session._addressing import address
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer, answer
from tests.amqp.proxy import open_proxy
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.scenarios import Shouting

SMALL = 100_000
"""Bytes; the broker's limit for these tests."""

SET_LIMIT = "application:set_env(rabbit, max_message_size, {0}), persistent_term:put(max_message_size, {0})."
"""RabbitMQ 3 looks at the first, 4 at the second."""


@asynccontextmanager
async def strict(broker: Broker) -> AsyncIterator[None]:
    """A broker that takes small messages only, on channels that are opened now."""
    usual = 128 * 2**20 if broker.version < (4, 0) else 16 * 2**20
    await broker.rabbitmqctl("eval", SET_LIMIT.format(SMALL))
    try:
        yield
    finally:
        await broker.rabbitmqctl("eval", SET_LIMIT.format(usual))


@pytest.fixture
async def inbox(broker: Broker, queue: str, limit: None) -> str:
    name = broker.fresh_name("inbox")
    await Producer(broker, queue).declare(name)
    return name


class Swelling(Shouting):
    """Its reply to `good big` is larger than the broker takes, its error's code is nothing for AMQP."""

    def encode(self, outcome: object) -> bytes:
        body = super().encode(outcome)  # type: ignore[arg-type] # it is an Outcome
        return body + bytes(SMALL) if body == b"ok:GOOD BIG" else body

    def infer(self, items: list[str]) -> list[str | Exception]:
        return [Unspeakable("?") if item == "good unspeakable" else item.upper() for item in items]


class Unspeakable(RequestError):
    code = "\ud800"


async def test_a_reply_the_broker_finds_too_big_becomes_an_error_and_the_limit_is_learned(
    broker: Broker, topology: Topology, inbox: str
) -> None:
    producer = Producer(broker, topology.queue)
    async with (
        strict(broker),
        serving(Swelling(), broker, topology, batching=FixedPolicy(4, 0.05)) as running,
    ):
        for settled in (3, 6):  # the second time it is known
            for name in ("1", "big", "2"):
                await producer.send(f"good {name}".encode(), reply_to=inbox, correlation_id=name)
            await running.until_settled(settled)
    replies = [
        (properties.correlation_id, body, (properties.headers or {}).get("rpcb-error"))
        for _, properties, body in await producer.read(inbox)
    ]
    assert set(replies) == {
        ("1", b"ok:GOOD 1", None),
        ("2", b"ok:GOOD 2", None),
        ("big", b"failed:reply-too-big", "reply-too-big"),
    }
    assert running.endings == {Settled.REPLIED: 6}
    said = [str(error) for _, error in running.failures]
    assert said == [
        f"the reply has {SMALL + 11} bytes, and the broker takes {SMALL}",
        f"the reply has {SMALL + 11} bytes, and {SMALL} are allowed (max_reply_size)",
    ]
    assert running.lost_sessions == []


async def test_a_flood_of_forged_addresses_leaves_every_honest_request_answered(
    broker: Broker, topology: Topology, inbox: str, forged: Settled
) -> None:
    producer, dead = Producer(broker, topology.queue), broker.fresh_name("dead")
    await producer.declare(dead)
    topology = Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with serving(Shouting(), broker, topology) as running:
        for n in range(20):
            await producer.send(b"good evil", reply_to=f"amq.rabbitmq.reply-to.aaaa.bbb{n}")
            await producer.send(b"good %d" % n, reply_to=inbox)
        await running.until_settled(40)
    assert running.endings == Counter({Settled.REPLIED: 20}) + Counter({forged: 20})
    assert {body for _, _, body in await producer.read(inbox)} == {b"ok:GOOD %d" % n for n in range(20)}
    dead_lettered = [body for _, _, body in await producer.read(dead)]
    assert set(dead_lettered) == ({b"good evil"} if forged is Settled.REJECTED else set())
    assert len(dead_lettered) == running.endings[Settled.REJECTED]
    assert running.lost_sessions == []


async def test_an_error_whose_code_can_not_be_put_into_amqp_is_told_by_that_of_its_kind(
    broker: Broker, topology: Topology, inbox: str
) -> None:
    producer = Producer(broker, topology.queue)
    async with serving(Swelling(), broker, topology) as running:
        await producer.send(b"good unspeakable", b"good 1", reply_to=inbox)
        await running.until_settled(2)
    assert sorted(body for _, _, body in await producer.read(inbox)) == [b"ok:GOOD 1", b"request: ?"]


async def test_the_limit_is_known_by_the_brokers_version(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    async with transport.open_session(topology, prefetch=1) as session:
        assert session.max_reply_size == (128 if broker.version < (4, 0) else 16) * 2**20


async def test_a_reply_never_bears_its_requests_message_id_or_user(
    broker: Broker, transport: AmqpTransport, topology: Topology, inbox: str
) -> None:
    producer = Producer(broker, topology.queue)
    async with transport.open_session(topology, prefetch=2) as session:
        await producer.send(b"a", reply_to=inbox, message_id="theirs", user_id="guest", delivery_mode=2)
        await answer(session, 1)
    [(_, properties, _)] = await producer.read(inbox)
    assert properties.message_id != "theirs"
    assert properties.user_id is None


async def test_a_nacked_reply_is_sent_again_without_a_new_connection(
    broker: Broker, topology: Topology, limit: None
) -> None:
    producer, full = Producer(broker, topology.queue), broker.fresh_name("full")
    await producer.declare(full, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    async with (
        open_proxy(broker.url) as proxy,
        AmqpTransport(proxy.url).open_session(topology, prefetch=2) as session,
    ):
        await producer.send(b"a", reply_to=full)
        assert await answer(session, 1) == [Settled.REJECTED]
        assert proxy.accepted == 2, "one to consume, one to publish"


@pytest.mark.parametrize(("reply_to", "mode"), [("amq.rabbitmq.reply-to.token", 1), ("inbox", 2)])
async def test_a_direct_reply_is_never_persistent_though_its_request_is(reply_to: str, mode: int) -> None:
    request = Request(body=b"", arrived=0.0, reply_to=reply_to, persistent=True)
    message = address(Answer(request, Reply(body=b"")))
    assert message is not None
    assert message.properties.delivery_mode == mode
