"""A request that can't be answered is kept, with the reason, and costs no other request anything."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pika  # type: ignore[import-untyped] # it carries no types
import pytest

from rpcb_trio import Reply, SettingError, Topology
from rpcb_trio._transports import Session
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer, answer
from tests.amqp.users import only_reply
from tests.rabbitmq import Broker

FORGED = "amq.rabbitmq.reply-to.aaaa.bbbb"
TOKEN = "aaaa.bbbb"  # noqa: S105 - of the address above

pytestmark = pytest.mark.usefixtures("limit")


@pytest.fixture
def topology(queue: str, dead: str) -> Topology:
    return Topology(queue=queue, dead_letter_exchange="", dead_letter_routing_key=dead)


async def bury(session: Session, reason: str, count: int = 1) -> list[Settled]:
    """Give up so many requests."""
    held = [await session.requests.receive() for _ in range(count)]
    return await session.settle([Answer(request, None, dead_letter=reason) for request in held])


async def letters(producer: Producer, dead: str) -> dict[bytes, dict[str, Any]]:
    """The headers of each dead letter, by its body."""
    return {body: properties.headers for _, properties, body in await producer.read(dead)}


async def test_a_dead_letter_is_the_request_as_it_was_with_the_reason_the_queue_and_the_time(
    broker: Broker, transport: AmqpTransport, topology: Topology, dead: str, inbox: str
) -> None:
    producer = Producer(broker, topology.queue)
    own: dict[str, Any] = {
        "content_type": "audio/wav",
        "content_encoding": "gzip",
        "correlation_id": "42",
        "reply_to": "somewhere",
        "message_id": "theirs",
        "app_id": "app",
        "type": "kind",
        "timestamp": 1_700_000_000,
        "priority": 3,
        "delivery_mode": 2,
    }
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(
            b"a", user_id="guest", expiration="60000", headers={"own": 1, "CC": [inbox]}, **own
        )
        assert await bury(session, "it is\n  poison") == [Settled.REJECTED]
    [(_, properties, body)] = await producer.read(dead)
    headers = properties.headers
    assert body == b"a"
    assert len(await producer.read(inbox)) == 1  # the copy that its producer ordered, and no other
    assert {name: getattr(properties, name) for name in own} == own
    assert (properties.user_id, properties.expiration) == (None, None)
    since = datetime.fromisoformat(headers.pop("rpcb-dead-letter-time"))
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    assert headers == {
        "own": 1,
        "rpcb-dead-letter-reason": "it is poison",
        "rpcb-dead-letter-queue": topology.queue,
    }
    assert await producer.read() == []


async def test_a_dead_letter_keeps_a_text_in_its_headers_that_is_not_utf_8(
    broker: Broker, transport: AmqpTransport, topology: Topology, dead: str
) -> None:
    properties = pika.BasicProperties(headers={"text": "odd"})
    pieces = [piece.replace(b"odd", b"\xff\xfe\xfd") for piece in properties.encode()]
    properties.encode = lambda: pieces
    async with transport.open_session(topology, prefetch=10) as session:
        with broker.channel() as channel:
            channel.basic_publish("", topology.queue, b"a", properties)
        await bury(session, "why not")
    headers = (await letters(Producer(broker, topology.queue), dead))[b"a"]
    assert headers["text"] == b"\xff\xfe\xfd"
    assert headers["rpcb-dead-letter-reason"] == "why not"


async def test_dead_letters_keep_their_own_routing_key_where_none_is_set(
    broker: Broker, transport: AmqpTransport, queue: str, dead: str
) -> None:
    producer = Producer(broker, queue)
    await producer.bind(dead, "amq.topic", queue)
    async with transport.open_session(
        Topology(queue=queue, dead_letter_exchange="amq.topic"), prefetch=300
    ) as session:
        await producer.send(*(b"%d" % n for n in range(300)), message_id="all the same")
        assert await bury(session, "why not", 300) == [Settled.REJECTED] * 300
    assert len(await producer.read(dead)) == 300
    assert await producer.read() == []


async def test_the_dead_letters_of_refused_replies_say_what_the_broker_said(  # noqa: PLR0917 - pytest gives them
    broker: Broker, transport: AmqpTransport, topology: Topology, dead: str, inbox: str, forged: Settled
) -> None:
    producer, full = Producer(broker, topology.queue), broker.fresh_name("full")
    await producer.declare(full, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    async with transport.open_session(topology, prefetch=10) as session:
        for body, reply_to in ((b"a", inbox), (b"evil", FORGED), (b"full", full)):
            await producer.send(body, reply_to=reply_to)
        assert await answer(session, 3) == [Settled.REPLIED, forged, Settled.REJECTED]
    found = await letters(producer, dead)
    assert (b"evil" in found) == (forged is Settled.REJECTED)
    assert all(
        "INTERNAL_ERROR" in found[body]["rpcb-dead-letter-reason"] for body in found.keys() & {b"evil"}
    )
    assert "nack" in found[b"full"]["rpcb-dead-letter-reason"]
    assert await producer.read() == []


async def test_a_refused_reply_sends_its_request_back_if_so_set_but_never_one_that_is_poison(
    broker: Broker, transport: AmqpTransport, topology: Topology, dead: str, forged: Settled
) -> None:
    producer, full = Producer(broker, topology.queue), broker.fresh_name("full")
    await producer.declare(full, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    topology = msgspec.structs.replace(topology, on_refused_reply="requeue")
    async with transport.open_session(topology, prefetch=10) as session:
        await producer.send(b"evil", reply_to=FORGED)
        await producer.send(b"full", reply_to=full)
        assert await answer(session, 2) == [forged, Settled.REQUEUED]
        again = await session.requests.receive()
        assert (again.body, again.redelivered) == (b"full", True)
        await producer.delete(full)
        assert await session.settle([Answer(again, Reply(body=b"A"))]) == [Settled.UNROUTABLE]
    assert list(await letters(producer, dead)) == ([b"evil"] if forged is Settled.REJECTED else [])


@pytest.mark.parametrize(
    ("exchange", "key", "said"),
    [(None, None, "no dead_letter_exchange is set"), ("", "no-such-queue", "no queue is bound there")],
)
async def test_a_dead_letter_that_can_not_be_published_is_rejected_and_the_log_says_why(  # noqa: PLR0917 - pytest gives them
    broker: Broker,
    queue: str,
    inbox: str,
    caplog: pytest.LogCaptureFixture,
    exchange: str | None,
    key: str | None,
    said: str,
) -> None:
    producer = Producer(broker, queue)
    topology = Topology(queue=queue, dead_letter_exchange=exchange, dead_letter_routing_key=key)
    async with AmqpTransport(broker.url).open_session(topology, prefetch=10) as session:
        await producer.send(b"a", b"b", reply_to=inbox, correlation_id="42")
        assert await bury(session, "it is poison") == [Settled.REJECTED]
        assert await answer(session, 1) == [Settled.REPLIED]
    assert await producer.read() == []
    [line] = warnings(caplog)
    assert f"request '42' of '{inbox}' was rejected" in line
    assert said in line
    assert "it is poison" in line


@pytest.fixture
async def replier(broker: Broker, queue: str) -> AmqpTransport:
    """Its user may reply, and publish nowhere else."""
    await Producer(broker, queue).declare(queue)
    return AmqpTransport(await only_reply(broker, queue))


async def poison_and_answer(session: Session) -> list[Settled]:
    """Give up two requests, and answer a third, all at once."""
    held = [await session.requests.receive() for _ in range(3)]
    answers = [Answer(request, None, dead_letter="poison") for request in held[:2]]
    return await session.settle([*answers, Answer(held[2], Reply(body=b"A"))])


async def test_a_dead_letter_exchange_that_is_gone_harms_no_reply(
    broker: Broker, queue: str, inbox: str, caplog: pytest.LogCaptureFixture
) -> None:
    producer = Producer(broker, queue)
    await producer.declare(queue)
    own = Topology(queue=queue, declare="never", dead_letter_exchange=broker.fresh_name("dlx"))
    async with AmqpTransport(broker.url).open_session(own, prefetch=10) as session:
        await producer.send(b"evil", b"worse", b"a", reply_to=inbox)
        assert await poison_and_answer(session) == [Settled.REJECTED] * 2 + [Settled.REPLIED]
    assert ["there is no exchange" in line for line in warnings(caplog)] == [True, True]
    assert [body for _, _, body in await producer.read(inbox)] == [b"A"]
    assert await producer.read() == []


async def test_what_a_worker_may_not_dead_letter_goes_back_and_replies_pass(
    broker: Broker, queue: str, inbox: str, replier: AmqpTransport
) -> None:
    producer = Producer(broker, queue)
    own = Topology(queue=queue, declare="never", dead_letter_exchange="amq.topic")
    await producer.send(b"evil", b"worse", b"a", reply_to=inbox)
    with pytest.raises(SessionLost, match=r"may not publish to exchange 'amq\.topic'; grant write on it"):
        async with replier.open_session(own, prefetch=10) as session:
            await poison_and_answer(session)
    assert [body for _, _, body in await producer.read(inbox)] == [b"A"]
    assert [body for _, _, body in await producer.read()] == [b"evil", b"worse"]


async def test_no_log_line_shows_a_direct_reply_to_address(
    broker: Broker,
    transport: AmqpTransport,
    topology: Topology,
    caplog: pytest.LogCaptureFixture,
    forged: Settled,
) -> None:
    caplog.set_level(logging.DEBUG, "rpcb_trio")
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, topology.queue).send(b"a", reply_to=FORGED)
        assert await answer(session, 1) == [forged]
    assert ("amq.rabbitmq.reply-to." in caplog.text) == (forged is Settled.REJECTED)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("key", [None, "work"])
async def test_dead_letters_that_would_come_back_to_the_queue_are_a_wrong_setting(key: str | None) -> None:
    with pytest.raises(SettingError, match="dead_letter_routing_key"):
        Topology(queue="work", dead_letter_exchange="", dead_letter_routing_key=key)


def warnings(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
