"""Services in the gateway's own process, on an embedded broker: HTTP without RabbitMQ."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from rpcb_trio._commands._metrics import counting_for
from rpcb_trio._commands._settings._values import split_pairs
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._events import EventInstrument, publish_events
from rpcb_trio._gateway import Route, Routes
from rpcb_trio._instruments import LogInstrument, Setup, tracing_if_on
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._pipeline import serve
from rpcb_trio._service import BoundService
from rpcb_trio._transports import MemoryBroker, Topology

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger("rpcb_trio")

Services = Mapping[str, BoundService]
"""By the names of their queues, and of the routes that reach them."""


class _Log(LogInstrument):
    def worker_started(self, setup: Setup) -> None:
        """No word of dead letters: no setting names an exchange for them here."""


def load_services(pairs: Sequence[str]) -> Services:
    """Load the services of `NAME=MODULE:ATTRIBUTE` pairs.

    Raises:
        SettingError: one can't be loaded.
    """
    named = split_pairs("--serve", pairs, "NAME=MODULE:ATTRIBUTE")
    return {name: load_service(target, {}) for name, target in named.items()}


def rerouted(routes: Routes, services: Services) -> Routes:
    """The routes that have a service of their name or of their queue's, or are composed of such.

    The log names the others.
    """
    kept: dict[str, Route] = {}
    for name, route in routes.items():
        called = {part.route for part in route.parts.values()} or {name}
        behind = {each: _service_of(each, routes, services) for each in called}
        if missing := sorted(each for each in called if behind[each] is None):
            flags = " ".join(f"--serve {each}=MODULE:ATTRIBUTE" for each in missing)
            log.warning("[routes.%s] is left out: it needs %s", name, flags)
        else:
            kept[name] = route if route.parts else _to_queue(route, behind[name])
    return kept


def _service_of(name: str, routes: Routes, services: Services) -> str | None:
    """The service that a route of this name reaches."""
    if name in services:
        return name
    queue = routes[name].queue if name in routes else None
    return queue if queue in services else None


def _to_queue(route: Route, name: str | None) -> Route:
    return msgspec.structs.replace(route, queue=name, exchange="", routing_key=None)


@asynccontextmanager
async def serving_here(
    services: Services, events: str, registry: CollectorRegistry | None = None, *, cancel: bool = False
) -> AsyncIterator[MemoryBroker]:
    """Serve each from a queue of its name until the end, when what they hold is answered."""
    broker = MemoryBroker()
    async with open_serving_nursery() as nursery, AsyncExitStack() as stack:
        for name, service in services.items():
            publishing = EventInstrument(name)
            await stack.enter_async_context(publish_events(broker, events, publishing))
            instruments = [
                *tracing_if_on(),
                _Log(name),
                publishing,
                *counting_for(registry),
            ]
            topology = Topology(queue=name, cancel=cancel)
            start = partial(serve, service, broker, topology, instruments=instruments)
            worker = await nursery.start(partial(start, batch_headers=True))
            stack.callback(worker.drain)
        yield broker
