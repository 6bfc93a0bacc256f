"""Too many requests, too large or too slow ones, and clients that close their connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import ENVELOPE, echo, front
from tests.gateway.hangup import hang_up_after

FORM = {"audio": "file"}
ROUTES: dict[str, Any] = {
    "form": {"queue": "echo", "body": "bytes", "form": FORM},
    "face": {"queue": "echo", "envelope": ENVELOPE, "form": FORM},
    "slow": {"queue": "slow", "timeout": 2.0},
}


async def test_a_reply_that_does_not_come_is_a_gateway_timeout(autojump_clock: MockClock) -> None:
    async with front(ROUTES, slow=None) as gateway:
        started = trio.current_time()
        answer = await gateway.http.post("/slow")
        waited = trio.current_time() - started
    assert (answer.status_code, answer.json()["error"]) == (504, "timeout")
    assert waited == pytest.approx(2.0, abs=0.1)


async def test_a_request_beyond_max_in_flight_gets_503_at_once_with_retry_after(
    autojump_clock: MockClock,
) -> None:
    answers = []
    async with front(ROUTES, GatewayOptions(max_in_flight=2, retry_after=7), slow=None, echo=echo) as gateway:

        async def ask() -> None:
            answers.append(await gateway.http.post("/slow"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await gateway.until_in_flight(2)
            refused = await gateway.http.post("/form", files={"audio": b"1"})
            enveloped = await gateway.http.post("/face", files={"audio": b"1"})
            assert gateway.in_flight == 2
        later = await gateway.http.post("/form", files={"audio": b"1"})
    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (
        503,
        "busy",
        "7",
    )
    assert (enveloped.status_code, enveloped.json()["status"]) == (503, 500)
    assert [answer.status_code for answer in answers] == [504, 504]
    assert later.status_code == 200


def test_an_upload_may_have_what_the_ancestor_allowed_unless_another_limit_is_set() -> None:
    assert GatewayOptions().max_upload == 90 * 2**20


@pytest.mark.parametrize("path", ["/form", "/rpc/form"])
async def test_an_upload_of_just_the_limit_passes_and_one_byte_more_is_refused(path: str) -> None:
    content = b"--b\r\ncontent-disposition: form-data; name=audio; filename=a\r\n\r\nwav\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    for limit, status in ((len(content), 200), (len(content) - 1, 413)):
        async with front(ROUTES, GatewayOptions(max_upload=limit), echo=echo) as gateway:
            announced = await gateway.http.post(path, content=content, headers=headers)
            unannounced = await gateway.http.post(path, content=in_pieces(content), headers=headers)
        assert [announced.status_code, unannounced.status_code] == [status, status]


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    """A body whose length nobody announces."""
    for start in range(0, len(content), 10):
        yield content[start : start + 10]


async def test_more_than_all_uploads_may_take_is_refused_until_others_are_done(
    autojump_clock: MockClock,
) -> None:
    options = GatewayOptions(max_buffered=1000)
    async with front(ROUTES, options, slow=None, echo=echo) as gateway:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: gateway.http.post("/slow", content=b"x" * 600))
            await gateway.until_in_flight(1)
            refused = await gateway.http.post("/rpc/form", content=b"x" * 600)
            small = await gateway.http.post("/rpc/form", content=b"x" * 300)
        later = await gateway.http.post("/rpc/form", content=b"x" * 600)
        never = await gateway.http.post("/rpc/form", content=b"x" * 1001)
    assert [refused.status_code, small.status_code, later.status_code] == [503, 200, 200]
    assert (never.status_code, never.json()["error"]) == (413, "too-big")
    assert refused.headers["retry-after"] == "1"


async def test_an_upload_that_takes_too_long_gets_408(autojump_clock: MockClock) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"half"
        await trio.sleep(100)
        yield b"the other half"

    async with front(ROUTES, GatewayOptions(upload_timeout=10), echo=echo) as gateway:
        started = trio.current_time()
        answer = await gateway.http.post("/rpc/form", content=slowly())
    assert (answer.status_code, answer.json()["error"]) == (408, "slow-upload")
    assert trio.current_time() - started < 20


async def test_without_a_broker_a_request_gets_503_at_once_and_readiness_says_so() -> None:
    async with front(ROUTES, echo=echo) as gateway:
        assert (await gateway.http.get("/readyz")).status_code == 200
        gateway.app.state.dispatcher.client = None
        answer = await gateway.http.post("/rpc/form", content=b"x")
        ready, live = await gateway.http.get("/readyz"), await gateway.http.get("/livez")
    assert (answer.status_code, answer.json()["error"]) == (503, "no-broker")
    assert answer.headers["retry-after"] == "1"
    assert (ready.status_code, ready.json()["ready"], live.status_code) == (503, False, 200)


async def test_a_client_that_closes_its_connection_ends_the_wait_for_its_reply() -> None:
    async with front({"slow": {"queue": "slow", "timeout": 600.0}}, slow=None) as gateway:
        with trio.fail_after(60):
            await hang_up_after(gateway, "/slow", {"type": "http.request", "body": b"x", "more_body": False})
        assert gateway.in_flight == 0


async def test_a_client_that_closes_its_connection_in_mid_upload_leaves_nothing_behind() -> None:
    async with front(ROUTES, GatewayOptions(max_buffered=1000), echo=echo) as gateway:
        half = {"type": "http.request", "body": b"x" * 900, "more_body": True}
        await hang_up_after(gateway, "/rpc/form", half)
        answer = await gateway.http.post("/rpc/form", content=b"x" * 900)
    assert answer.status_code == 200
