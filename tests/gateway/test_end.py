"""How the gateway ends: what is in flight is answered, nobody new is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trio

from rpcb_trio import SettingError
from rpcb_trio.gateway import GatewayOptions
from rpcb_trio.testing import VirtualExecutor
from tests.gateway.fronts import Started, echo
from tests.gateway.listening import Listening, listening, status_of

ROUTES: dict[str, Any] = {"slow": {"queue": "slow", "timeout": 10.0}}


class Gated(VirtualExecutor):
    """Echoes once it may."""

    def __init__(self) -> None:
        super().__init__(echo)
        self.may = trio.Event()

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        await self.may.wait()
        return await super().infer(items)


def served_by(executor: Gated) -> Started:
    """An echo."""
    return Started(echo, {"executors": [executor]})


async def test_during_a_drain_requests_in_flight_are_answered_and_further_ones_are_refused() -> None:
    executor = Gated()
    answers: list[httpx.Response] = []
    async with listening(ROUTES, slow=served_by(executor)) as gateway, gateway.asking() as http:

        async def ask() -> None:
            answers.append(await http.post("/slow", content=b"x"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await gateway.behind.until_in_flight(1)
            gateway.drain.set()
            await refused(gateway)
            assert gateway.behind.app.state.dispatcher.is_ready is False
            executor.may.set()
        await gateway.ended.wait()
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"x")]
    assert gateway.cut == 0


async def refused(gateway: Listening) -> None:
    """Wait until nobody is let in any more."""
    with suppress(OSError):
        while True:
            await gateway.stream()


async def test_an_upload_that_has_begun_may_end_and_is_answered() -> None:
    executor = Gated()
    executor.may.set()
    async with listening(ROUTES, slow=served_by(executor)) as gateway:
        stream = await gateway.stream()
        expecting = b"POST /slow HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 8\r\n\r\n"
        await stream.send_all(expecting)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"half")
        gateway.drain.set()
        await refused(gateway)
        await stream.send_all(b"half")
        assert await status_of(stream) == 200
        await gateway.ended.wait()


async def test_idle_connections_do_not_hold_up_the_end() -> None:
    async with listening(ROUTES, slow=echo) as gateway:
        streams = [await gateway.stream() for _ in range(5)]
        async with gateway.asking() as http:
            await http.get("/livez")  # a later connection is answered, so that these five have been accepted
        gateway.drain.set()
        assert [await status_of(stream) for stream in streams] == [None] * 5
        await gateway.ended.wait()


async def test_what_is_not_answered_within_the_drain_s_time_is_cut_and_counted() -> None:
    async with listening(ROUTES, drain_timeout=0.1, slow=None) as gateway:
        streams = [await gateway.stream() for _ in range(3)]
        for stream in streams:
            await stream.send_all(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        await gateway.behind.until_in_flight(3)
        gateway.drain.set()
        assert [await status_of(stream) for stream in streams] == [None] * 3
        await gateway.ended.wait()
    assert gateway.cut == 3


async def test_a_place_for_files_that_can_t_be_used_ends_it_with_the_setting_s_name() -> None:
    with pytest.RaisesGroup(SettingError, flatten_subgroups=True) as caught:
        async with listening(ROUTES, GatewayOptions(files="/proc/none")):
            pass
    assert "files: /proc/none can't be used" in str(caught.value.exceptions)
