"""A worker on RabbitMQ in a thread of its own, for tests whose programs run no trio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from anyio.from_thread import BlockingPortal

from rpcb_trio import Worker, serve
from tests.rabbitmq import Broker

PATIENCE = 30.0
"""Seconds after which a test that waits has failed."""


@contextmanager
def answering(portal: BlockingPortal, broker: Broker, service: Any, **settings: Any) -> Iterator[str]:
    """Run a worker on a queue of its own, whose name is yielded; leaving it drains the worker."""
    queue = broker.fresh_name()
    start = partial(serve, service, broker.url, queue, **settings)
    ended, worker = portal.start_task(start)
    assert isinstance(worker, Worker)
    try:
        yield queue
    finally:
        portal.call(worker.drain)
        ended.result(PATIENCE)


def silent_queue(broker: Broker, **arguments: Any) -> str:
    """Declare a queue that nobody reads."""
    name = broker.fresh_name()
    with broker.channel() as channel:
        channel.queue_declare(name, arguments=arguments)
    return name
