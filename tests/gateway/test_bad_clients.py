"""Clients that are slow, stop half-way, or mean harm, on a real port; all others are answered as usual."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import pytest
import trio

from rpcb_trio._gateway import _connections, _responses, _server
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import echo
from tests.gateway.listening import Listening, listening, status_of

MANY = 100
ROUTES: dict[str, Any] = {
    "echo": {"queue": "echo"},
    "form": {"queue": "echo", "body": "bytes", "form": {"audio": "file"}},
    "slow": {"queue": "slow", "timeout": 10.0},
}

HALF_A_HEADER = b"POST /echo HTTP/1.1\r\nhost: x\r\nx-slow: "
HALF_AN_UPLOAD = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nhalf"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short timeouts of the gateway, for a short test."""
    monkeypatch.setattr(_server, "LONGEST_PAUSE", 1.5)
    monkeypatch.setattr(_responses, "LINGER", 0.1)


async def answers(gateway: Listening) -> list[int]:
    """The statuses of twenty ordinary requests meanwhile."""
    async with gateway.asking() as http:
        return [(await http.post("/echo", content=b"hello")).status_code for _ in range(20)]


@pytest.mark.parametrize("sent", [b"", HALF_A_HEADER, HALF_AN_UPLOAD], ids=["nothing", "headers", "uploads"])
async def test_a_hundred_clients_that_stop_half_way_delay_no_others_and_are_cut_off_in_time(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sent == HALF_AN_UPLOAD:  # a busy machine may not come to its headers before the pause is too long
        monkeypatch.setattr(_server, "LONGEST_PAUSE", 60.0)
    async with listening(ROUTES, GatewayOptions(upload_timeout=1.5), echo=echo) as gateway:
        slow = [await gateway.stream() for _ in range(MANY)]
        for stream in slow:
            await stream.send_all(sent)
        assert await answers(gateway) == [200] * 20
        ends = {await status_of(stream) for stream in slow}
    assert ends == ({408} if sent == HALF_AN_UPLOAD else {None})


async def test_headers_that_come_byte_by_byte_get_no_more_time_than_those_that_do_not_come() -> None:
    async with listening(ROUTES, echo=echo) as gateway, trio.open_nursery() as nursery:
        stream = await gateway.stream()
        nursery.start_soon(_drip, stream, HALF_A_HEADER)
        assert await answers(gateway) == [200] * 20
        assert await status_of(stream) is None
        nursery.cancel_scope.cancel()


async def test_a_body_that_comes_byte_by_byte_gets_408() -> None:
    async with (
        listening(ROUTES, GatewayOptions(upload_timeout=0.5), echo=echo) as gateway,
        trio.open_nursery() as nursery,
    ):
        stream = await gateway.stream()
        await stream.send_all(HALF_AN_UPLOAD)
        nursery.start_soon(_drip, stream, b"")
        assert await answers(gateway) == [200] * 20
        assert await status_of(stream) == 408
        nursery.cancel_scope.cancel()


async def _drip(stream: trio.abc.SendStream, start: bytes) -> None:
    await stream.send_all(start)
    try:
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.02)
    except trio.BrokenResourceError:
        pass  # it was cut off, as it should be


async def test_an_upload_that_is_broken_off_gives_back_what_it_held() -> None:
    async with (
        listening(ROUTES, GatewayOptions(max_buffered=1000), echo=echo) as gateway,
        gateway.asking() as http,
    ):
        for _ in range(5):
            stream = await gateway.stream()
            await stream.send_all(
                b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n" + b"x" * 800
            )
            while (await http.post("/echo", content=b"x" * 300)).status_code != 503:
                pass  # it holds nothing yet
            await stream.aclose()
            while (await http.post("/echo", content=b"x" * 900)).status_code != 200:
                pass  # it still holds what it held


async def test_a_closed_connection_ends_the_wait_for_its_reply_at_once() -> None:
    async with listening(ROUTES, slow=None) as gateway:
        stream = await gateway.stream()
        await stream.send_all(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        await gateway.behind.until_in_flight(1)
        await stream.aclose()
        with trio.fail_after(5):  # half of the route's own time-out
            await gateway.behind.until_in_flight(0)


LARGE = b"x" * 30_000_000
"""More than the buffers of any connection hold."""


async def ask_and_read_nothing(gateway: Listening) -> None:
    """A client whose answer is under way, but does not get through."""
    stream = await gateway.stream()
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(LARGE)
    await stream.send_all(head + LARGE)
    unsent = gateway.behind.app.state.unsent
    await gateway.until(lambda: unsent.held == len(LARGE))


async def test_a_client_that_reads_no_response_is_cut_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connections, "STALL", 0.2)
    async with listening(ROUTES, echo=echo) as gateway:
        await ask_and_read_nothing(gateway)
        assert await answers(gateway) == [200] * 20
        gateway.drain.set()
        with trio.fail_after(5):  # far less than the drain would give it
            await gateway.ended.wait()


async def test_a_client_that_reads_no_response_does_not_delay_the_end() -> None:
    async with listening(ROUTES, echo=echo, drain_timeout=0.2) as gateway:
        await ask_and_read_nothing(gateway)
        gateway.drain.set()
        with trio.fail_after(5):  # far less than it has to take a piece
            await gateway.ended.wait()


async def test_http_2_is_not_spoken_so_that_nobody_can_end_the_gateway_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(ROUTES, echo=echo) as gateway:
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        stream = await gateway.stream()
        await stream.send_all(client.data_to_send())
        assert await status_of(stream) == 404
        assert await answers(gateway) == [200] * 20
    assert "rpcb_trio.http" not in {record.name for record in caplog.records}


async def test_what_breaks_in_one_connection_is_logged_and_ends_no_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ArithmeticError("a fault of the server's own")

    async with listening(ROUTES, echo=echo) as gateway, gateway.asking() as http:
        assert (await http.post("/echo", content=b"x")).status_code == 200
        with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "rpcb_trio.http"):
            patched.setattr(_connections.OnlyHttp1, "handle", broken)
            stream = await gateway.stream()
            await stream.send_all(HALF_A_HEADER)
            assert await status_of(stream) is None
        assert await answers(gateway) == [200] * 20
    assert "a connection broke off" in caplog.text


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\nx-long: " + b"x" * 100_000, 431),
    ],
    ids=["TLS", "negative length", "two lengths", "long header"],
)
async def test_what_is_no_http_is_refused(request_line: bytes, status: int) -> None:
    async with listening(ROUTES, echo=echo) as gateway:
        stream = await gateway.stream()
        await stream.send_all(request_line)
        assert await status_of(stream) == status
        assert await answers(gateway) == [200] * 20


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_closed_connection_holds_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "LONGEST_PAUSE", 1000.0)
    async with listening(ROUTES, echo=echo) as gateway:
        before = descriptors()
        for stream in [await gateway.stream() for _ in range(MANY)]:
            await stream.aclose()
        await gateway.until(lambda: descriptors() <= before)
