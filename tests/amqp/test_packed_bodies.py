"""What producers on RabbitMQ pack is served plain, and kept as it came."""

from __future__ import annotations

import gzip
import zlib

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer
from tests.amqp.producer import Producer
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.scenarios import Shouting


async def test_a_packed_request_is_answered_as_a_plain_one(
    broker: Broker, queue: str, inbox: str, limit: None
) -> None:
    producer = Producer(broker, queue)
    async with serving(Shouting(), broker, Topology(queue=queue)) as running:
        await producer.send(gzip.compress(b"good"), reply_to=inbox, content_encoding="gzip")
        await producer.send(zlib.compress(b"good"), reply_to=inbox, content_encoding="deflate")
        await producer.send(b"good", reply_to=inbox, content_encoding="UTF-8")
        await producer.send(b"good", reply_to=inbox, content_encoding="br")
        await running.until_settled(4)
    bodies = sorted(body for _, _, body in await producer.read(inbox))
    assert bodies == [b"failed:decode", b"ok:GOOD", b"ok:GOOD", b"ok:GOOD"]


async def test_a_dead_letter_is_packed_as_its_request_was(
    broker: Broker, transport: AmqpTransport, queue: str, dead: str
) -> None:
    producer, packed = Producer(broker, queue), gzip.compress(b"speech")
    topology = Topology(queue=queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with transport.open_session(topology, prefetch=1) as session:
        await producer.send(packed, content_encoding="gzip", content_type="audio/wav")
        request = await session.requests.receive()
        assert (request.content_type, request.content_encoding) == ("audio/wav", "gzip")
        await session.settle([Answer(request, None, dead_letter="why")])
    [(_, properties, body)] = await producer.read(dead)
    assert (properties.content_encoding, body) == ("gzip", packed)
