"""On RabbitMQ: equal requests of any producer are computed once, and each is answered to its own id."""

from __future__ import annotations

import pytest

from rpcb_trio import Cache, Topology
from tests.amqp.producer import Producer
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.scenarios import Shouting

pytestmark = pytest.mark.usefixtures("limit")


async def test_equal_requests_are_computed_once_and_each_is_answered_with_its_own_correlation_id(
    broker: Broker, queue: str, inbox: str
) -> None:
    producer, service = Producer(broker, queue), Shouting()
    async with serving(
        service, broker, Topology(queue=queue), cache=Cache(60, headers=("x-language",))
    ) as running:
        await producer.send(b"good 1", b"good 1", reply_to=inbox, correlation_id="before")
        await running.until_settled(2)
        await producer.send(b"good 1", reply_to=inbox, correlation_id="after")
        await producer.send(
            b"good 1",
            reply_to=inbox,
            correlation_id="other",
            headers={"x-language": "en"},
            content_type="a/b",
        )
        await running.until_settled(4)
    found = [
        (properties.correlation_id, properties.headers) for _, properties, _ in await producer.read(inbox)
    ]
    assert sorted(name for name, _ in found) == ["after", "before", "before", "other"]
    hits = [name for name, headers in found if (headers or {}).get("rpcb-cache") == "hit"]
    assert sorted(hits) == ["after", "before"]
    assert sorted(item for run in service.runs for item in run) == ["good 1"] * 2
