"""A connection that breaks by itself while replies go out convicts none of them."""

from __future__ import annotations

import pytest
import trio

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Settled
from tests.amqp import proxy as proxies
from tests.amqp.producer import Producer, answer
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

PUBLISH = b"\x00\x3c\x00\x28"  # class 60, method 40: basic.publish


class CutsPublishes(proxies.Proxy):
    """Breaks the connection instead of passing on the first so many replies."""

    left = 0

    async def _pass(
        self,
        source: trio.abc.Stream,
        sink: trio.abc.Stream,
        both: trio.CancelScope,
        way: tuple[int, proxies.Side],  # noqa: ARG002 - publishes go one way only
    ) -> None:
        try:
            async for chunk in source:
                if PUBLISH in chunk and self.left:
                    self.left -= 1
                    break
                await sink.send_all(chunk)
        except trio.BrokenResourceError:
            pass
        both.cancel()


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "Proxy", CutsPublishes)


@pytest.mark.usefixtures("cutting")
async def test_a_reply_that_meets_broken_connections_is_sent_in_the_end(
    broker: Broker, topology: Topology
) -> None:
    producer, inbox = Producer(broker, topology.queue), broker.fresh_name("inbox")
    await producer.declare(inbox)
    async with proxies.open_proxy(broker.url) as proxy:
        assert isinstance(proxy, CutsPublishes)
        async with AmqpTransport(proxy.url).open_session(topology, prefetch=4) as session:
            await producer.send(b"a", reply_to=inbox)
            proxy.left = 3
            assert await answer(session, 1) == [Settled.REPLIED]
    assert [body for _, _, body in await producer.read(inbox)] == [b"A"]


@pytest.mark.usefixtures("cutting")
async def test_a_connection_that_breaks_at_every_reply_ends_the_session_and_the_request_is_redelivered(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    producer = Producer(broker, topology.queue)
    async with proxies.open_proxy(broker.url) as proxy:
        assert isinstance(proxy, CutsPublishes)
        with pytest.raises(SessionLost, match="breaks again and again"):  # noqa: PT012 - it comes out of both
            async with AmqpTransport(proxy.url).open_session(topology, prefetch=4) as session:
                await producer.send(b"a", reply_to=topology.queue)
                proxy.left = 99
                await answer(session, 1)
    async with transport.open_session(topology, prefetch=4) as session:
        request = await session.requests.receive()
        assert (request.body, request.redelivered) == (b"a", True)
