"""Clients that take their answers slowly: they hold no more than is set, and others are answered."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from rpcb_trio._gateway import _unsent
from rpcb_trio._gateway._middleware import Cut
from rpcb_trio._gateway._unsent import BoundedResponses, Unsent
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import echo
from tests.gateway.listening import Listening, listening

ROUTES: dict[str, Any] = {"echo": {"queue": "echo"}}
LARGE = 20_000_000
"""Bytes, more than the buffers of any connection hold."""


async def slow_reader(gateway: Listening) -> trio.SocketStream:
    """A client whose large response is under way, and who takes nothing of it."""
    unsent: Unsent = gateway.behind.app.state.unsent
    before = unsent.held // LARGE + unsent.cut
    stream = await gateway.stream()
    head = f"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n".encode()
    await stream.send_all(head + bytes(LARGE))
    await gateway.until(lambda: unsent.held // LARGE + unsent.cut > before)
    return stream


async def received_of(stream: trio.SocketStream) -> bytes:
    """All that comes until the end."""
    whole = b""
    try:
        async for piece in stream:
            whole += piece
    except trio.BrokenResourceError:
        pass
    return whole


async def test_slow_clients_are_cut_off_to_make_room_for_others_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_unsent, "GRACE", 0.0)
    options = GatewayOptions(max_unsent=3 * LARGE)
    async with (
        listening(ROUTES, options, drain_timeout=0.2, echo=echo) as gateway,
        gateway.asking() as http,
    ):
        unsent: Unsent = gateway.behind.app.state.unsent
        slow = [await slow_reader(gateway) for _ in range(5)]
        assert unsent.held <= 3 * LARGE
        assert unsent.cut == 2
        honest = await http.post("/echo", content=bytes(LARGE))
        assert (await http.get("/readyz")).json()["answers_cut"] == unsent.cut
        rests = [len(await received_of(stream)) for stream in slow[:2]]
    assert (honest.status_code, len(honest.content)) == (200, LARGE)
    assert all(rest < LARGE for rest in rests)
    lines = [each.getMessage() for each in caplog.records if "was cut off" in each.getMessage()]
    assert len(lines) == unsent.cut
    assert "max_unsent" in lines[0]
    assert max(each.levelno for each in caplog.records) == logging.WARNING


async def test_while_no_client_is_slow_a_further_large_response_becomes_503() -> None:
    options = GatewayOptions(max_unsent=LARGE, retry_after=7)
    async with (
        listening(ROUTES, options, drain_timeout=0.2, echo=echo) as gateway,
        gateway.asking() as http,
    ):
        await slow_reader(gateway)
        refused = await http.post("/echo", content=bytes(LARGE))
        small = await http.post("/echo", content=b"small")
        assert gateway.behind.app.state.unsent.cut == 0
    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (
        503,
        "busy",
        "7",
    )
    assert small.content == b"small"


async def test_an_answer_in_pieces_is_broken_off_where_its_next_piece_has_no_room(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    unsent, sent = Unsent(100_000), list[Any]()

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": bytes(70_000), "more_body": True})

    async def take(message: Any) -> None:
        sent.append(message["type"])
        if len(sent) > 2:
            await trio.sleep_forever()

    bounded = BoundedResponses(app, unsent, 1)
    async with trio.open_nursery() as nursery:
        with unsent.taking(40_000, "another"), pytest.raises(Cut):
            await bounded({"type": "http"}, trio.sleep_forever, take)
        nursery.cancel_scope.cancel()
    assert (sent, unsent.held, unsent.cut) == (["http.response.start"], 0, 1)
    assert "broken off before its next 70000 bytes" in caplog.text


async def test_of_slow_clients_the_one_that_holds_the_most_goes_first(autojump_clock: MockClock) -> None:
    unsent, ended = Unsent(100), list[str]()

    async def take(size: int, client: str, name: str) -> None:
        with unsent.taking(size, client):
            await trio.sleep_forever()
        ended.append(name)

    async with trio.open_nursery() as nursery:
        for size, client, name in ((20, "a", "a1"), (30, "b", "b1"), (30, "b", "b2")):
            nursery.start_soon(take, size, client, name)
            await trio.sleep(1)
        assert not unsent.make_room(30)
        await trio.sleep(_unsent.GRACE)
        assert unsent.make_room(30)
        await trio.testing.wait_all_tasks_blocked()
        assert (ended, unsent.held, unsent.cut) == (["b1"], 50, 1)
        assert not unsent.make_room(101)
        nursery.cancel_scope.cancel()
    assert unsent.held == 0
