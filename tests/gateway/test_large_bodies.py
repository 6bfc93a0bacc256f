"""Bodies that the broker does not take: refused before they are read, or sent by a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from rpcb_trio import MemoryBroker, Reply, RpcClient, open_client
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from rpcb_trio.testing import in_place
from tests.gateway.fronts import Canned, asking, echo
from tests.scenarios import working

LARGEST = 1000
"""Bytes; what the broker takes."""

MIB = 2**20

ROUTES: dict[str, Any] = {
    "plain": {"queue": "plain"},
    "form": {"queue": "form", "reply": "json", "form": {"file": "file"}},
    "two": {"form": {"file": "file"}, "parts": {"one": {"route": "form"}, "other": {"route": "form"}}},
}


class Choosy(Canned):
    """A client whose broker takes small messages only."""

    largest_request = LARGEST  # type: ignore[assignment] # of any broker it is None


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield bytes(500)


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/rpc/plain", LARGEST, 200),
        ("/rpc/plain", LARGEST + 1, 413),
        ("/plain", LARGEST + 1, 413),
        ("/form", LARGEST + 1, 200),
        ("/form", LARGEST + MIB + 1, 413),
        ("/two", LARGEST + MIB + 1, 200),
    ],
)
async def test_a_body_that_can_become_no_message_is_refused_by_its_length_alone(
    path: str, size: int, status: int
) -> None:
    app = make_app(cast("RpcClient", Choosy(Reply(body=b"{}"))), read_routes(ROUTES), GatewayOptions())
    form = path in ("/form", "/two")
    sent: dict[str, Any] = {"files": {"file": bytes(size)}} if form else {"content": bytes(size)}
    async with app.router.lifespan_context(app), asking(app) as http:
        answer = await http.post(path, **sent)
    assert answer.status_code == status
    if status == 413:
        assert answer.json()["error"] == "too-big"
        most = LARGEST + MIB if form else LARGEST
        assert answer.json()["detail"].startswith(f"the broker takes {most} bytes at most")


async def test_a_body_of_no_announced_length_is_refused_as_soon_as_it_is_too_large() -> None:
    app = make_app(cast("RpcClient", Choosy(Reply(body=b""))), read_routes(ROUTES), GatewayOptions())
    async with app.router.lifespan_context(app), asking(app) as http:
        answer = await http.post("/rpc/plain", content=pieces())
    assert answer.status_code == 413


async def test_with_a_store_a_large_upload_and_its_answer_go_by_it_and_leave_nothing(tmp_path: Path) -> None:
    broker = MemoryBroker(max_message_size=LARGEST)
    async with (
        working(echo, broker, queue="plain", claims=[str(tmp_path)], offload=in_place),
        open_client(broker, claims=str(tmp_path)) as client,
    ):
        app = make_app(client, read_routes(ROUTES), GatewayOptions())
        async with app.router.lifespan_context(app), asking(app) as http:
            answer = await http.post("/rpc/plain", content=bytes(5 * MIB))
    assert (answer.status_code, len(answer.content)) == (200, 5 * MIB)
    assert not any(name.startswith("rpcb-claim") for name in answer.headers)
    assert [*tmp_path.iterdir()] == []  # noqa: ASYNC240 - a test's own directory
