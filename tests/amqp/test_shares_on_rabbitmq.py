"""On RabbitMQ, whose queue is first in, first out, a flood stands in nobody's way."""

from __future__ import annotations

from functools import partial

import pika  # type: ignore[import-untyped] # it carries no types
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rpcb_trio import FixedPolicy, RpcClient, open_client, serve
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.batching import Shares
from tests.amqp.test_amqp_deadlines import Counting
from tests.amqp.test_worker_on_rabbitmq import Gate, opened
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

FLOOD = 1000
TENANT = "x-tenant"


def send_flood(broker: Broker, queue: str) -> None:
    with broker.channel() as channel:
        properties = pika.BasicProperties(headers={TENANT: "loud"})
        for _ in range(FLOOD):
            channel.basic_publish("", queue, b"loud", properties)


async def test_who_calls_behind_a_flood_is_in_the_next_batch_and_the_flood_is_refused(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    recorder = Counting()
    with opened(Gate()) as gate:
        async with trio.open_nursery() as nursery, open_client(transport) as quiet:
            start = partial(serve, gate, transport, queue, batching=FixedPolicy(8))
            worker = await nursery.start(partial(start, shares=Shares(TENANT), instruments=[recorder]))
            async with trio.open_nursery() as calls:
                await trio.to_thread.run_sync(send_flood, broker, queue)
                await gate.entered.wait()
                calls.start_soon(call, quiet, queue)
                await recorder.wait_for(FLOOD + 1)
                await wait_all_tasks_blocked()  # until all of them are admitted, or refused
                gate.open()
            worker.drain()
    callers = [{member.request.headers.get(TENANT) for member in batch.members} for batch in recorder.batches]
    assert callers[:3] == [{"loud"}, {"loud", "quiet"}, {"loud"}]
    refused = [request.headers[TENANT] for request, error in recorder.refusals if error.code == "overloaded"]
    assert set(refused) == {"loud"}
    assert len(refused) + sum(batch.size for batch in recorder.batches) == FLOOD + 1


async def call(client: RpcClient, queue: str) -> None:
    reply = await client.call(b"quiet", queue=queue, headers={TENANT: "quiet"})
    assert reply.body == b"QUIET"
