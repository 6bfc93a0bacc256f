"""Queues and exchanges may have any name that RabbitMQ takes: UTF-8, up to 255 bytes."""

from __future__ import annotations

from uuid import uuid4

import pytest
import trio

from rpcb_trio import Reply, Topology, open_client
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import TopologyMismatch
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.scenarios import Shouting

NAMES = {
    "a generic type of .NET": "Requests.Transcribe`1[[System.String, mscorlib]]:{}",
    "a tag URI": "tag:example.org,2026:speech?language=en&model=tiny#{}",
    "another script": "распознавание/речи {}",
    "an emoji": "🎙️{}",
    "quotes": '"asr\'s" \\ {}',
    "commands to a terminal": "\x1b[31mred\x07{}",
    "as long as can be": "q" * 223 + "{}",
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, broker: Broker) -> str:
    """A name that no other test uses; 255 bytes at most."""
    found = NAMES[request.param].format(uuid4().hex)
    broker._names.append(found)
    return found


async def test_a_worker_serves_a_queue_of_any_name_that_is_bound_to_an_exchange_of_any_name(
    broker: Broker, limit: None, name: str
) -> None:
    topology = Topology(queue=name, exchange=name, routing_keys=(name, "é"))
    async with serving(Shouting(), broker, topology), open_client(AmqpTransport(broker.url)) as client:
        by_queue = await client.call(b"good", queue=name)
        by_key = await client.call(b"good", exchange=name, routing_key="é")
    assert (by_queue.body, by_key.body) == (b"ok:GOOD", b"ok:GOOD")


async def test_replies_and_dead_letters_go_to_exchanges_of_any_name(
    broker: Broker, transport: AmqpTransport, queue: str, inbox: str, name: str
) -> None:
    producer = Producer(broker, queue)
    topology = Topology(queue=queue, dead_letter_exchange=name, dead_letter_routing_key="dead")
    async with transport.open_session(topology, prefetch=2) as session:
        await producer.bind(inbox, name, "#")
        address = f"{name}/key"
        if "/" not in name and len(address.encode()) <= 255:
            await producer.send(b"a", reply_to=address)
            request = await session.requests.receive()
            assert await session.settle([Answer(request, Reply(body=b"A"))]) == [Settled.REPLIED]
        await producer.send(b"b")
        request = await session.requests.receive()
        await session.settle([Answer(request, None, dead_letter="why")])
    assert (await producer.read(inbox))[-1][2] == b"b"


async def test_events_go_to_an_exchange_of_any_name(
    broker: Broker, transport: AmqpTransport, name: str
) -> None:
    async with (
        transport.open_subscriber(name) as subscriber,
        transport.open_publisher(name),
    ):
        assert await subscriber.depth(name) is None


async def test_what_is_asked_of_a_broker_may_have_any_name(
    broker: Broker, transport: AmqpTransport, name: str
) -> None:
    topology = Topology(queue=name, exchange=name, routing_keys=("k",))
    async with transport.open_session(topology, prefetch=1):
        pass
    async with transport.open_examination() as asked:
        assert not isinstance(await asked.queue(name), str)
        assert await asked.refusal_of_queue(topology) is None
        assert await asked.refusal_of_exchange(topology) is None
        assert await asked.missing_exchange(name) is None
        assert await asked.refusal_to_declare(name) is None
        assert await asked.refusal_to_read(name) is None
        assert await asked.refusal_to_write(name) is None
    assert topology.queue_arguments == {}


async def test_a_name_is_no_command_to_a_terminal_where_an_error_tells_of_it(
    broker: Broker, transport: AmqpTransport
) -> None:
    name = f"\x1b[31mred\x07{uuid4().hex}"
    told = "it does not exist; create it, or use declare=active"
    with pytest.raises(TopologyMismatch, match=told) as raised:
        async with transport.open_session(Topology(queue=name, declare="passive"), prefetch=1):
            await trio.sleep_forever()
    assert str(raised.value).isprintable()
