from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
import trio

from rpcb_trio import FixedPolicy, SettingError, Worker, open_client, serve
from rpcb_trio._messages import Notice
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import TopologyMismatch
from rpcb_trio.events import BatchEvent, EventInstrument, StateEvent, publish_events, watch_events
from rpcb_trio.instruments import Condition
from tests.amqp.proxy import open_proxy
from tests.amqp.watched import short_waits
from tests.events.watching import seeing, state
from tests.rabbitmq import Broker, Node


@pytest.fixture
def exchange(broker: Broker) -> str:
    """The name of an exchange that no other test uses."""
    return broker.fresh_name("events")


@asynccontextmanager
async def telling(
    transport: AmqpTransport, queue: str, exchange: str, publisher: AmqpTransport | None = None
) -> AsyncIterator[Worker]:
    """A worker that answers in capitals, and tells of itself."""
    events = EventInstrument("asr")

    async def run(*, task_status: trio.TaskStatus[Worker]) -> None:
        async with publish_events(publisher or transport, exchange, events, interval=0.1):
            policy = FixedPolicy(8, max_wait=0.05)
            await serve(
                capitals, transport, queue, batching=policy, instruments=[events], task_status=task_status
            )

    async with trio.open_nursery() as nursery:
        worker: Worker = await nursery.start(run)
        yield worker
        worker.drain()


def capitals(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


async def test_who_watches_sees_the_batches_and_the_states_of_a_worker(
    transport: AmqpTransport, queue: str, exchange: str
) -> None:
    async with seeing(transport, exchange) as seen:
        async with telling(transport, queue, exchange), open_client(transport) as client:
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(partial(client.call, b"x", queue=queue))
            [batch] = await seen.until(BatchEvent)
        await seen.until_it_is_so(lambda: seen.of(StateEvent)[-1].condition is Condition.STOPPED)
    assert (batch.worker, batch.queue, batch.size, batch.failed) == ("asr", queue, 8, 0)
    last = seen.of(StateEvent)[-1]
    assert (last.received, last.answered, last.batches, last.held, last.dropped) == (8, 8, 1, 0, 0)


async def test_any_client_can_have_the_events_of_one_queue_by_their_routing_keys(
    broker: Broker, transport: AmqpTransport, queue: str, exchange: str
) -> None:
    with broker.channel() as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
        mine = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(mine, exchange, f"worker.{queue}.*.batch")
        async with (
            seeing(transport, exchange) as seen,
            telling(transport, queue, exchange),
            open_client(transport) as client,
        ):
            await client.call(b"x", queue=queue)
            [batch] = await seen.until(BatchEvent)
        method, properties, body = channel.basic_get(mine, auto_ack=True)
        assert channel.basic_get(mine)[0] is None
    assert method.routing_key == batch.routing_key
    assert (properties.content_type, properties.delivery_mode, properties.expiration) == (
        "application/json",
        1,
        "5000",
    )
    assert b'"event":"batch"' in body


async def test_a_watch_tells_how_full_queues_are_and_none_of_those_that_are_not_there(
    broker: Broker, transport: AmqpTransport, queue: str, exchange: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue)
        channel.basic_publish("", queue, b"x")
    async with watch_events(transport, exchange) as watch:
        assert await watch.depth(broker.fresh_name()) is None
        assert await watch.depth(queue) == 1


def test_it_watches_under_asyncio_as_well(broker: Broker, exchange: str) -> None:
    async def main() -> None:
        async with watch_events(broker.url, exchange) as watch:
            with broker.channel() as channel:
                channel.basic_publish(exchange, "worker", b"no event")
            assert await watch.depth("amq.nothing") is None
            assert watch.is_connected

    anyio.run(main)


async def test_the_work_goes_on_while_the_publisher_is_cut_off_and_its_events_come_again(
    broker: Broker, transport: AmqpTransport, queue: str, exchange: str
) -> None:
    with short_waits():
        async with open_proxy(broker.url) as proxy, seeing(transport, exchange) as seen:
            way = AmqpTransport(proxy.url)
            async with telling(transport, queue, exchange, way), open_client(transport) as client:
                await seen.until(StateEvent)
                proxy.cut()
                assert (await client.call(b"x", queue=queue)).body == b"X"
                await proxy.arrival()
                await proxy.arrival()
                count = len(seen.of(StateEvent))
                await seen.until(StateEvent, count + 3)
        assert seen.of(StateEvent)[-1].answered == 1


async def test_who_listens_too_slowly_loses_some_and_holds_up_nobody(
    transport: AmqpTransport, exchange: str
) -> None:
    notices = [Notice(routing_key="x", body=b"%d" % n, expiration=60) for n in range(6000)]
    async with (
        transport.open_subscriber(exchange) as slow,
        transport.open_subscriber(exchange) as quick,
        transport.open_publisher(exchange) as publisher,
    ):
        for first in range(0, len(notices), 500):
            await publisher.publish(notices[first : first + 500])
            async for body in quick.bodies:
                if int(body) == first + 499:
                    break
        bodies = aiter(slow.bodies)
        first_seen = [int(await anext(bodies)) for _ in range(1000)]
    assert first_seen == sorted(first_seen)


async def test_under_an_alarm_events_are_dropped_and_counted_and_come_again_after_it(
    node: Node, exchange: str, limit: None
) -> None:
    events = EventInstrument(buffer=4)
    async with seeing(node.url, exchange) as seen, publish_events(node.url, exchange, events, interval=60):
        await node.rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
        try:
            with trio.fail_after(20):
                while not events.buffer.dropped:
                    events.buffer.put(state(1))
                    await trio.sleep(0.01)
        finally:
            await node.rabbitmqctl("set_vm_memory_high_watermark", "0.4")
        events.buffer.put(state(2))
        await seen.until_it_is_so(lambda: seen.events[-1:] == [state(2)])


@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        ("amq.fanout", TopologyMismatch, "events: exchange 'amq.fanout': it is there, but no topic"),
        ("amq.none", TopologyMismatch, "events: exchange 'amq.none': it does not exist"),
        ("", SettingError, "events names no exchange"),
        ("x" * 300, SettingError, "events: exchange .* can't be put into AMQP"),
    ],
)
async def test_an_exchange_that_can_not_be_had_is_refused(
    transport: AmqpTransport, what: str, kind: type[Exception], says: str
) -> None:
    for open_one in (transport.open_publisher, transport.open_subscriber):
        with pytest.raises(kind, match=says):
            async with open_one(what):
                pass
