"""A worker on RabbitMQ, in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from rpcb_trio import Topology, serve
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio.amqp import AmqpTransport
from tests.rabbitmq import Broker
from tests.scenarios import Running


@asynccontextmanager
async def serving(
    service: Any, broker: Broker, topology: Topology, **settings: Any
) -> AsyncIterator[Running]:
    """Run a worker; leaving it drains the worker and waits for its end."""
    running = Running()
    start = partial(serve, service, AmqpTransport(broker.url), topology, instruments=[running], **settings)
    async with open_serving_nursery() as nursery:
        running.worker = await nursery.start(start)
        yield running
        running.worker.drain()
