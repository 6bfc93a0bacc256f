"""What becomes of work whose client hung up: with `cancel` the workers hear of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, Topology, open_client
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from tests.amqp.producer import Producer
from tests.gateway.fronts import Gateway, one_by_one
from tests.gateway.hangup import hang_up_after
from tests.rabbitmq import Broker
from tests.scenarios import Running, working

ROUTES: dict[str, Any] = {
    "one": {"queue": "one", "form": {"text": {}}},
    "two": {"queue": "two", "form": {"text": {}}},
    "both": {"form": {"text": {}}, "parts": {"first": {"route": "one"}, "second": {"route": "two"}}},
}
UPLOAD = {"type": "http.request", "body": b"text=hello", "more_body": False}
FORM = [(b"content-type", b"application/x-www-form-urlencoded")]


async def test_a_client_that_hangs_up_ends_all_parts_of_its_composite_request(
    autojump_clock: MockClock,
) -> None:
    broker, shout = MemoryBroker(), one_by_one(lambda body: body["text"])
    how: dict[str, Any] = {"service_time": lambda _: 10.0, "batching": FixedPolicy(1)}
    one = working(shout, broker, queue=Topology(queue="one", cancel=True), **how)
    two = working(shout, broker, queue=Topology(queue="two", cancel=True), **how)
    async with one as first, two as second, open_client(broker, cancel=True) as client:
        app = make_app(client, read_routes(ROUTES))
        for queue in ("one", "two"):
            broker.publish(msgspec.msgpack.encode({"text": "other"}), routing_key=queue)
        async with app.router.lifespan_context(app):
            gateway, when = Gateway(app, client), partial(trio.sleep, 1)
            await hang_up_after(gateway, "/both", UPLOAD, headers=FORM, when=when)
        await until_only_the_other_is_left(first)
        await until_only_the_other_is_left(second)
        assert trio.current_time() < 10


async def until_only_the_other_is_left(running: Running) -> None:
    await running.until_settled(1)
    assert running.worker.held == 1


async def test_a_gateway_cancels_over_the_broker_what_its_clients_gave_up(broker: Broker, queue: str) -> None:
    producer, heard = Producer(broker, queue), broker.fresh_name("heard")
    await producer.declare(queue)
    app = make_app(broker.url, read_routes({"slow": {"queue": queue}}), GatewayOptions(cancel=True))
    async with app.router.lifespan_context(app):
        await producer.bind(heard, "rpcb.cancel", queue)

        async def sent() -> None:
            while not await producer.count(queue):  # noqa: ASYNC110 - the broker tells nobody
                await trio.sleep(0.02)

        request = {"type": "http.request", "body": b"x", "more_body": False}
        await hang_up_after(Gateway(app, app.state.dispatcher.client), "/slow", request, when=sent)
    [(_, asked, _)], [(_, given_up, _)] = await producer.read(), await producer.read(heard)
    assert given_up.correlation_id == asked.correlation_id
    assert given_up.reply_to == asked.reply_to
