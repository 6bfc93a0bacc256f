"""Workers whose prefetch follows what their next batches need, on RabbitMQ."""

from __future__ import annotations

import time

import pytest
import trio

from rpcb_trio import AutoPolicy, RpcClient, Topology, open_client
from rpcb_trio._transports._amqp._session._session import AmqpSession
from rpcb_trio.instruments import Settled
from tests.amqp.serving import serving
from tests.rabbitmq import Broker

CALLERS = 12
CALLS = 8


def slowly(bodies: list[bytes]) -> list[bytes]:
    time.sleep(0.05)  # many round trips, or nothing follows
    return [body.upper() for body in bodies]


async def call_again_and_again(client: RpcClient, queue: str, caller: int) -> None:
    for number in range(CALLS):
        body = b"caller %d call %d" % (caller, number)
        reply = await client.call(body, queue=queue, timeout=60)
        assert reply.body == body.upper()


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_two_workers_that_follow_answer_each_request_once(
    broker: Broker, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = list[int]()
    reconsume = AmqpSession.reconsume

    async def reconsume_and_note(session: AmqpSession, *, prefetch: int, priority: int = 0) -> None:
        changed.append(prefetch)
        await reconsume(session, prefetch=prefetch, priority=priority)

    monkeypatch.setattr(AmqpSession, "reconsume", reconsume_and_note)
    topology = Topology(queue=broker.fresh_name(), arguments={"x-queue-type": kind})
    with trio.fail_after(60):
        async with (
            serving(slowly, broker, topology, batching=AutoPolicy(8)) as one,
            serving(slowly, broker, topology, batching=AutoPolicy(8)) as other,
            open_client(broker.url) as client,
            trio.open_nursery() as nursery,
        ):
            for caller in range(CALLERS):
                nursery.start_soon(call_again_and_again, client, topology.queue, caller)
    assert changed
    assert one.endings + other.endings == {Settled.REPLIED: CALLERS * CALLS}
    assert one.lost_sessions == other.lost_sessions == []
