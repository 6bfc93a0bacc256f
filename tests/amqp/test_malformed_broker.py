"""A broker, or what stands in its way, sends what is no AMQP: it costs the session, and nothing hangs."""

from __future__ import annotations

import struct
from functools import partial

import pytest
import trio

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from tests import raw_frames
from tests.amqp.producer import Producer
from tests.amqp.proxy import open_proxy
from tests.amqp.watched import Model, short_waits, working
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

IN = 0
"""The first of a worker's connections is the one that it consumes on."""

MALFORMED = {
    "no frame": b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    "a frame without its end": raw_frames.BODY[:-1] + b"\x00",
    "a body that belongs to nothing": raw_frames.BODY,
    "a frame beyond all limits": struct.pack(">BHI", 1, 1, 2**32 - 1),
    "a delivery that is cut short": raw_frames.method(60 << 16 | 60, b"\x01c"),
    "a confirm that is cut short": raw_frames.method(60 << 16 | 80, b""),
    "a method that nobody knows": raw_frames.frame(1, struct.pack(">HH", 99, 99), channel=0),
    "a close of the connection that is cut short": raw_frames.frame(1, struct.pack(">HH", 10, 50), channel=0),
    "a close of the channel that is cut short": raw_frames.method(20 << 16 | 40, b"\x01"),
    "a cancel that is cut short": raw_frames.method(60 << 16 | 30, b""),
    "a blocked notice that is cut short": raw_frames.frame(1, struct.pack(">HH", 10, 60), channel=0),
}


@pytest.mark.parametrize("what", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_amqp_costs_a_worker_its_session_and_the_next_one_serves(
    broker: Broker, queue: str, what: bytes
) -> None:
    answers, producer, model = broker.fresh_name("answers"), Producer(broker, queue), Model(0)
    await producer.declare(answers)
    with short_waits():
        async with (
            open_proxy(broker.url) as proxy,
            working(model, AmqpTransport(proxy.url), queue) as seen,
        ):
            await proxy.say(IN, what)
            assert await seen.until_lost()
            await seen.until_back()
            await producer.send(b"a", reply_to=answers)
            await seen.until_settled(1)
    assert [body for _, _, body in await producer.read(answers)] == [b"A"]
    assert model.loaded == 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\x01"])
async def test_who_does_not_speak_amqp_is_named_as_such_and_leaves_nothing_open(answer: bytes) -> None:
    has_ended = trio.Event()

    async def greet(client: trio.SocketStream) -> None:
        await client.receive_some()
        await client.send_all(answer)
        await client.send_eof()
        async for _ in client:
            pass
        has_ended.set()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, greet, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(SessionLost, match="AMQP"):
            async with AmqpTransport(f"amqp://127.0.0.1:{port}").open_session(
                Topology(queue="q"), prefetch=1
            ):
                pass
        await has_ended.wait()
        nursery.cancel_scope.cancel()
