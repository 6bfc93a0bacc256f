"""A gateway that listens, in a thread, in front of services on an embedded broker."""

from __future__ import annotations

import socket
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
import trio

from rpcb_trio import MemoryBroker, Topology, open_client, serve
from rpcb_trio._service import bind
from rpcb_trio.events import EventInstrument, publish_events, watch_events
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes, serve_app

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "models" / "rpcb_models" / "recordings" / "librivox-0880.wav"
EXCHANGE = "events"
DRAIN = 5.0


def ancestor_routes() -> dict[str, Any]:
    """Those of the models' gateway.toml; on the embedded broker, which has no exchanges, by their queues."""
    text = (ROOT / "models" / "rpcb_models" / "gateway.toml").read_text()
    routes: dict[str, Any] = tomllib.loads(text)["routes"]
    for name, route in routes.items():
        if "exchange" in route:
            del route["exchange"], route["routing_key"]
            route["queue"] = name
    return routes


class Fake:
    """A service in msgpack that takes a moment, as models do.

    Args:
        answer: from the request's map to the reply's.
        seconds: that a batch takes.
    """

    def __init__(self, answer: Any, seconds: float = 0.0) -> None:
        self._answer = answer
        self._seconds = seconds

    def decode(self, body: bytes) -> Any:
        return msgspec.msgpack.decode(body)

    def infer(self, items: list[Any]) -> list[Any]:
        time.sleep(self._seconds)
        return [self._answer(each) for each in items]

    def encode(self, outcome: Any) -> bytes:
        return msgspec.msgpack.encode(outcome.value)


def recognised(request: Mapping[str, Any]) -> object:
    """As a recogniser answers."""
    return {"sentence": f"{len(request['audio'])} bytes of {request['format']} were heard.", "other": 200}


def enhanced(request: Mapping[str, Any]) -> object:
    """As an enhancer answers; it leaves the sound as it was."""
    return {"status": 200, "message": "", "data": {"enhance": request["audio"], "duration": "2.99"}}


@contextmanager
def listening(
    routes: Mapping[str, Any],
    services: Mapping[str, Any],
    options: GatewayOptions = GatewayOptions(),  # noqa: B008 - it is frozen
    *,
    live: bool = False,
    batch_headers: bool = True,
) -> Iterator[str]:
    """Serve each service from a queue of its name, and the routes in front of them; the value is the URL."""
    started: SimpleQueue[tuple[str, trio.lowlevel.TrioToken, trio.Event]] = SimpleQueue()

    async def run() -> None:
        async with trio.open_nursery() as workers, AsyncExitStack() as stack:
            stack.callback(workers.cancel_scope.cancel)
            broker, drain = MemoryBroker(), trio.Event()
            for name, service in services.items():
                events = EventInstrument(name)
                if live:
                    await stack.enter_async_context(publish_events(broker, EXCHANGE, events))
                start = partial(
                    serve, bind(service), broker, Topology(queue=name), batch_headers=batch_headers
                )
                await workers.start(partial(start, instruments=[events]))
            client = await stack.enter_async_context(open_client(broker))
            watch = await stack.enter_async_context(watch_events(broker, EXCHANGE)) if live else None
            app = make_app(client, read_routes(routes), options, events=watch)
            listener = socket.create_server(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            async with trio.open_nursery() as serving:
                await serving.start(partial(serve_app, app, listener, drain=drain, drain_timeout=DRAIN))
                started.put((url, trio.lowlevel.current_trio_token(), drain))

    thread = threading.Thread(target=trio.run, args=(run,), name="gateway")
    thread.start()
    try:
        url, token, drain = started.get(timeout=30)
        yield url
    finally:
        token.run_sync_soon(drain.set)
        thread.join()
