"""How much memory uploads take: no more than a small multiple of what is set, however many there are."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import pytest
import trio

from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import Gateway, front

MEGABYTE = 2**20
HEAD = b'--b\r\ncontent-disposition: form-data; name="audio"; filename="a"\r\n\r\n'
END = b"\r\n--b--\r\n"
UPLOADS = 40
PIECES = 32
"""Of 64 KiB: each upload has 2 MiB."""

ROUTES: dict[str, Any] = {
    "form": {"queue": "nobody", "timeout": 0.5, "form": {"audio": "file"}},
    "raw": {"queue": "nobody", "timeout": 0.5},
}


async def upload(gateway: Gateway, path: str, statuses: Counter[int]) -> None:
    """Upload in pieces, each made when it is asked for."""
    left = [HEAD, *[b""] * PIECES, END]

    async def receive() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if not left:
            await trio.sleep_forever()
        return {"type": "http.request", "body": left.pop(0) or bytes(2**16), "more_body": bool(left)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses[message["status"]] += 1

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    await gateway.app({**scope, "root_path": "", "scheme": "http", "server": ("gateway", 80)}, receive, send)


@pytest.mark.parametrize("path", ["/form", "/raw"])
async def test_forty_uploads_at_once_take_no_more_than_three_times_what_may_be_buffered(path: str) -> None:
    statuses = Counter[int]()
    limit = 8 * MEGABYTE
    async with front(ROUTES, GatewayOptions(max_buffered=limit), nobody=None) as gateway:
        tracemalloc.start()
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(UPLOADS):
                    nursery.start_soon(upload, gateway, path, statuses)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert 10 * limit == UPLOADS * PIECES * 2**16
    assert peak < 3 * limit
    assert set(statuses) == {503, 504}
    assert 1 <= statuses[504] <= 4
