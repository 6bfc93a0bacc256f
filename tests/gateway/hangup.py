"""Clients that hang up, at a moment of the test's choice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
import trio.testing

from tests.gateway.fronts import Gateway


async def still() -> None:
    """Wait until nothing moves any more."""
    await trio.testing.wait_all_tasks_blocked(0.01)


async def hang_up_after(
    gateway: Gateway,
    path: str,
    *messages: dict[str, Any],
    headers: Sequence[tuple[bytes, bytes]] = (),
    when: Callable[[], Awaitable[None]] = still,
) -> None:
    """Send these messages of ASGI, wait, hang up, and see that nothing was answered."""
    put, take = trio.open_memory_channel[dict[str, Any]](len(messages) + 1)
    answered: list[Any] = []

    async def send(message: Any) -> None:
        answered.append(message)

    for message in messages:
        put.send_nowait(message)
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": headers,
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("gateway", 80),
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway.app, scope, take.receive, send)
        await when()
        assert answered == []
        put.send_nowait({"type": "http.disconnect"})
