"""The broker goes away, or the way to it breaks: workers as a whole, on a real broker."""

from __future__ import annotations

import pytest
import trio

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from tests.amqp.frames import TagBook
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.proxy import Proxy, open_proxy
from tests.amqp.watched import Model, short_waits, working
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")


async def test_when_the_broker_stops_and_starts_under_load_all_is_answered_with_no_stale_tag_and_models_stay(
    broker: Broker,
) -> None:
    classic, quorum, answers = broker.fresh_name(), broker.fresh_name(), broker.fresh_name("answers")
    producers = [Producer(broker, queue) for queue in (classic, quorum)]
    topologies = [Topology(queue=classic)] * 2 + [Topology(queue=quorum, queue_type="quorum")]
    models = [Model(0.05), Model(30), Model(0.05)]  # the second holds a batch when the broker goes
    wanted = {b"request %d" % n for n in range(200)}
    book = TagBook()
    await declare_durable(broker, answers)
    with short_waits():
        async with (
            open_proxy(broker.url, book) as proxy,
            working(models[0], AmqpTransport(proxy.url), topologies[0], 2) as one,
            working(models[1], AmqpTransport(proxy.url), topologies[1], 2) as two,
            working(models[2], AmqpTransport(proxy.url), topologies[2], 2) as three,
        ):
            for producer in producers:
                await producer.send(*wanted, reply_to=answers, delivery_mode=2)
            await one.until_settled(10)
            await two.until(lambda seen: seen.batches)
            await three.until_settled(10)
            await broker.stop_app()
            for seen, model in zip((one, two, three), models, strict=True):
                await seen.until_lost()
                await seen.until_refused()
                model.let_go.set()
            settled = book.settled
            await broker.start_app()
            replies: list[bytes] = []
            while not all(replies.count(body.upper()) > 1 for body in wanted):
                replies += [body for _, _, body in await producers[0].read(answers)]
            for seen in (one, two, three):
                await seen.until_back()
    assert {body.lower() for body in replies} == wanted
    assert 0 < settled < 2 * len(wanted) <= book.settled
    assert book.stale == []
    assert [model.loaded for model in models] == [1, 1, 1]


async def test_a_reset_connection_is_noticed_without_a_heartbeat_and_what_was_held_is_answered(
    broker: Broker, queue: str
) -> None:
    answers, producer, book, model = (
        broker.fresh_name("answers"),
        Producer(broker, queue),
        TagBook(),
        Model(30),
    )
    await producer.declare(answers)
    async with (
        open_proxy(broker.url, book) as proxy,
        working(model, AmqpTransport(proxy.url, heartbeat=0), queue, 2) as seen,
    ):
        await producer.send(b"a", b"b", b"c", reply_to=answers)
        await seen.until(lambda seen: seen.batches)
        proxy.reset()
        assert "reset by peer" in await seen.until_lost()
        model.let_go.set()
        await seen.until_settled(3)
    assert sorted(body for _, _, body in await producer.read(answers)) == [b"A", b"B", b"C"]
    assert (book.settled, book.stale, seen.opened, model.loaded) == (3, [], 2, 1)


async def test_a_way_that_swallows_all_bytes_is_noticed_by_the_heartbeat_and_then_asked_at_intervals(
    broker: Broker, queue: str
) -> None:
    """Where only the connection for replies is half-open, not even the session ends."""
    mute_queue, answers = broker.fresh_name(), broker.fresh_name("answers")
    await Producer(broker, queue).declare(answers)
    model, mute_model = Model(0), Model(0)
    async with (
        open_proxy(broker.url) as proxy,
        open_proxy(broker.url) as mute,
        working(model, impatient(proxy), queue) as seen,
        working(mute_model, impatient(mute), mute_queue) as unheard,
    ):
        before = proxy.accepted
        proxy.freeze()
        mute.hold(OUT, "broker"), mute.hold(OUT, "client")
        await Producer(broker, mute_queue).send(b"b", reply_to=answers)
        with trio.fail_after(20):
            reason = await seen.until_lost()
        assert reason == "nothing was heard from the broker in 6 s (heartbeat=1)"
        with short_waits():
            refusal = await seen.until_refused(3)
            # One connection for each attempt, and perhaps one on its way: nothing tries in between.
            attempts = len(seen.failed_attempts)
            assert attempts <= proxy.accepted - before <= attempts + 1
            proxy.thaw()
            await seen.until_back()
        await Producer(broker, queue).send(b"a", reply_to=answers)
        await seen.until_settled(1)
        with trio.fail_after(20):
            await unheard.until_settled(1)
    assert "did not answer within 1 s (connect_timeout)" in str(refusal)
    assert sorted(body for _, _, body in await Producer(broker, answers).read()) == [b"A", b"B"]
    assert (unheard.lost_sessions, model.loaded, mute_model.loaded) == ([], 1, 1)


OUT = 1
"""The second of a worker's connections is the one for replies."""


def impatient(proxy: Proxy) -> AmqpTransport:
    return AmqpTransport(proxy.url, heartbeat=1, connect_timeout=1)
