"""A broker that can't be reached or won't let us in is told from a wrong setting, in one line."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from rpcb_trio import RpcbError, Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import LoginRefused, SessionLost
from tests.amqp.proxy import Proxy
from tests.rabbitmq import Broker, free_ports

pytestmark = pytest.mark.usefixtures("limit")

CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""Key and self-signed certificate for the name localhost, of openssl req -x509 -newkey rsa:2048 -nodes
-days 36500 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout localhost.pem -out localhost.pem
"""


async def refusal(url: str, **options: float) -> RpcbError:
    """What comes of opening a session."""
    with pytest.raises(RpcbError) as caught:
        async with AmqpTransport(url, **options).open_session(Topology(queue="q"), prefetch=10):  # type: ignore[arg-type] # of any option
            pass
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_wrong_password_is_refused_and_never_shown(broker: Broker) -> None:
    error = await refusal(broker.url.replace("guest:guest", "guest:hunter2"))
    assert isinstance(error, LoginRefused)
    assert "'guest'" in str(error)
    shown: BaseException | None = error
    while shown is not None:
        assert "hunter2" not in repr(shown)
        shown = shown.__cause__ or shown.__context__


async def test_a_wrong_virtual_host_is_refused(broker: Broker) -> None:
    error = await refusal(f"{broker.url}no-such-vhost")
    assert isinstance(error, LoginRefused)
    assert "vhost no-such-vhost not found; check the virtual host" in str(error)


async def test_a_closed_port_is_a_lost_session_that_names_host_and_port() -> None:
    [port] = free_ports(1)
    error = await refusal(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert isinstance(error, SessionLost)
    assert (
        str(error)
        == f"127.0.0.1:{port} can't be reached: Connection refused; is RabbitMQ running there? check url"
    )


async def test_an_unknown_host_is_a_lost_session() -> None:
    error = await refusal("amqp://guest:guest@no-such-host.invalid/")
    assert isinstance(error, SessionLost)
    assert "no-such-host.invalid:5672 can't be reached" in str(error)


Serve = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
async def test_a_black_hole_is_given_up_after_the_connect_timeout(scheme: str) -> None:
    async def never_answer(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with listening(never_answer) as port:
        error = await refusal(f"{scheme}://guest:guest@127.0.0.1:{port}/", connect_timeout=0.2)
    assert isinstance(error, SessionLost)
    assert str(error) == f"127.0.0.1:{port} did not answer within 0.2 s (connect_timeout)"


async def test_a_port_that_hangs_up_is_a_lost_session() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some(8)

    async with listening(hang_up) as port:
        error = await refusal(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert isinstance(error, SessionLost)
    assert f"127.0.0.1:{port} hung up; is it AMQP's port" in str(error)


async def test_a_port_that_speaks_something_else_is_told() -> None:
    async def speak_http(stream: trio.SocketStream) -> None:
        await stream.receive_some(8)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with listening(speak_http) as port:
        error = await refusal(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert isinstance(error, SessionLost)
    assert str(error) == f"127.0.0.1:{port} does not speak AMQP 0-9-1; is it the right port?"


@asynccontextmanager
async def tls_in_front_of(broker: Broker) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    proxy = Proxy(broker.url)

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await tls.do_handshake()
            await proxy.serve(tls)
        except trio.BrokenResourceError:
            pass  # a client that does not trust us hangs up

    async with listening(serve) as port:
        yield port


async def test_tls_serves_who_trusts_the_certificate(broker: Broker, queue: str) -> None:
    async with tls_in_front_of(broker) as port:
        url = f"amqps://guest:guest@localhost:{port}/?cafile={CERTIFICATE}"
        async with AmqpTransport(url).open_session(Topology(queue=queue), prefetch=10) as session:
            await session.stop_consuming()


@pytest.mark.parametrize(
    ("host", "options", "remedy"),
    [
        ("localhost", "", "self-signed certificate; cafile in the URL"),
        ("127.0.0.1", f"?cafile={CERTIFICATE}", "IP address mismatch.* the URL's host must be an address"),
    ],
    ids=["nobody to trust", "another host's certificate"],
)
async def test_a_certificate_that_can_not_be_trusted_is_refused(
    broker: Broker, host: str, options: str, remedy: str
) -> None:
    async with tls_in_front_of(broker) as port:
        error = await refusal(f"amqps://guest:guest@{host}:{port}/{options}")
    assert isinstance(error, LoginRefused)
    assert f"TLS with {host}:{port} failed" in str(error)
    assert re.search(remedy, str(error))


async def test_a_way_to_log_in_that_the_broker_lacks_is_refused(broker: Broker) -> None:
    async with tls_in_front_of(broker) as port:  # behind it the broker sees no certificate
        files = f"cafile={CERTIFICATE}&certfile={CERTIFICATE}"
        error = await refusal(f"amqps://localhost:{port}/?auth=external&{files}")
    assert isinstance(error, LoginRefused)
    assert "check auth in the URL" in str(error)


async def test_tls_to_a_port_without_tls_is_told(broker: Broker) -> None:
    error = await refusal(broker.url.replace("amqp:", "amqps:"))
    assert isinstance(error, LoginRefused)
    assert "does not speak TLS; use amqp://" in str(error)


async def test_a_port_with_tls_that_is_taken_for_one_without_is_told(broker: Broker) -> None:
    async with tls_in_front_of(broker) as port:
        error = await refusal(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert isinstance(error, SessionLost)
    assert "amqps://" in str(error)


async def test_a_file_that_is_gone_when_the_worker_reconnects_is_waited_for_not_died_of(
    broker: Broker, topology: Topology
) -> None:
    urls = [broker.url]
    gone = broker.url.replace("amqp://", "amqps://") + "?cafile=/no/such/file"
    transport = AmqpTransport(lambda: urls[0])
    async with transport.open_session(topology, prefetch=1):
        urls[0] = gone
    with pytest.raises(SessionLost, match="can't be used"):
        async with transport.open_session(topology, prefetch=1):
            pass
    urls[0] = broker.url
    async with transport.open_session(topology, prefetch=1):
        pass
