"""`/events`: the live view as browsers receive it."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any, cast

import httpx
import msgspec
import trio
import trio.testing
from starlette.applications import Starlette

from rpcb_trio import MemoryBroker, Topology, open_client, serve
from rpcb_trio._service import bind
from rpcb_trio.events import EventInstrument, publish_events, watch_events
from rpcb_trio.gateway import GatewayOptions, make_app, serve_app
from tests.gateway.fronts import echo, front

PATIENCE = 20.0
LONG_DRAIN = 1000.0


@asynccontextmanager
async def gateway(
    drain: trio.Event, apps: list[Starlette] | None = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """An echo behind a gateway that listens; after the test it must end by itself, once `drain` is set."""
    broker = MemoryBroker()
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        stack.callback(nursery.cancel_scope.cancel)
        events = EventInstrument("echo")
        await stack.enter_async_context(publish_events(broker, "events", events))
        start = partial(serve, bind(echo), broker, Topology(queue="echo"), instruments=[events])
        await nursery.start(start)
        client = await stack.enter_async_context(open_client(broker))
        watch = await stack.enter_async_context(watch_events(broker, "events"))
        app = make_app(client, {}, GatewayOptions(rpc=("echo",), **options), events=watch)
        if apps is not None:
            apps.append(app)
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with trio.open_nursery() as serving:
            await serving.start(partial(serve_app, app, listener, drain=drain, drain_timeout=LONG_DRAIN))
            async with httpx.AsyncClient(base_url=url) as http:
                with trio.fail_after(PATIENCE):
                    yield http
                    drain.set()


class Browser:
    """One that watches, down to the bytes: hanging up is its own doing."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._bytes = b""

    async def lines(self) -> AsyncGenerator[bytes]:
        """What comes, until the gateway hangs up."""
        async for more in self._stream:
            self._bytes += more
            while b"\n" in self._bytes:
                line, _, self._bytes = self._bytes.partition(b"\n")
                yield line

    async def view(self) -> dict[str, Any]:
        """The next view."""
        async with aclosing(self.lines()) as lines:
            async for line in lines:
                if line.startswith(b"data: "):
                    return cast("dict[str, Any]", msgspec.json.decode(line.removeprefix(b"data: ")))
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def connected(http: httpx.AsyncClient) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream(http.base_url.host, http.base_url.port or 0) as stream:
        yield stream


@asynccontextmanager
async def watching(http: httpx.AsyncClient) -> AsyncIterator[Browser]:
    async with connected(http) as stream:
        await stream.send_all(b"GET /events HTTP/1.1\r\nhost: gateway\r\n\r\n")
        yield Browser(stream)


async def test_what_workers_do_is_seen_as_it_happens() -> None:
    async with gateway(trio.Event()) as http, watching(http) as browser:
        assert (await browser.view())["connected"]
        await http.post("/rpc/echo", content=b"hello")
        queues: list[dict[str, Any]] = []
        while not (queues and queues[0]["batches"] and queues[0]["summary"]["ready"] is not None):
            queues = (await browser.view())["queues"]
    [echoes] = queues
    assert (echoes["summary"]["queue"], echoes["summary"]["ready"]) == ("echo", 0)
    assert echoes["batches"][0] | {"size": 1, "failed": 0} == echoes["batches"][0]
    assert echoes["workers"][0]["condition"] == "consuming"


async def test_a_browser_beyond_max_streams_gets_503() -> None:
    async with (
        gateway(trio.Event(), max_streams=2) as http,
        watching(http) as first,
        watching(http) as second,
    ):
        await first.view()
        await second.view()
        refused = await http.get("/events")
        await first.view()
        await second.view()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "2 browsers" in refused.json()["detail"]


async def test_of_many_browsers_that_connect_at_once_no_more_than_max_streams_watch() -> None:
    apps: list[Starlette] = []
    async with gateway(trio.Event(), apps, max_streams=4) as http, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(connected(http)) for _ in range(20)]
        for stream in streams:
            await stream.send_all(b"GET /events HTTP/1.1\r\nhost: gateway\r\n\r\n")
        heads = [bytes(await stream.receive_some(12)) for stream in streams]
        assert heads.count(b"HTTP/1.1 200") == apps[0].state.live.streams == 4
        assert heads.count(b"HTTP/1.1 503") == 16


async def test_a_browser_that_goes_makes_room_for_the_next() -> None:
    apps: list[Starlette] = []
    async with gateway(trio.Event(), apps, max_streams=1) as http:
        for _ in range(3):
            async with watching(http) as browser:
                await browser.view()
            while apps[0].state.live.streams:
                await trio.testing.wait_all_tasks_blocked()


async def test_a_drain_ends_the_streams_rather_than_wait_for_them() -> None:
    drain = trio.Event()
    async with gateway(drain) as http, watching(http) as browser:
        await browser.view()
        drain.set()
        last = [line async for line in browser.lines()][-2:]
    assert last == [b"0\r", b"\r"]


async def test_a_drain_closes_the_connections_of_clients_that_have_their_answers() -> None:
    drain = trio.Event()
    async with gateway(drain) as http, AsyncExitStack() as stack:
        streams = []
        for path in ("/static/page.js", "/docs/swagger-ui.css", "/livez", "/nothing"):
            streams.append(await stack.enter_async_context(connected(http)))
            await streams[-1].send_all(f"HEAD {path} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())
            await streams[-1].receive_some()
        drain.set()
        for stream in streams:
            async for _ in stream:
                pass


async def test_without_events_the_problem_says_how_to_turn_them_on() -> None:
    async with front() as plain:
        answer = await plain.http.get("/events")
        assert answer.status_code == 404
        assert "--events EXCHANGE" in answer.json()["detail"]
        assert not (await plain.http.get("/static/routes.json")).json()["live"]
