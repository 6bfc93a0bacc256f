"""Fixtures of the transport's tests."""

from __future__ import annotations

import pytest
import trio

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from tests.rabbitmq import Broker

LONGEST_TEST = 60.0


@pytest.fixture
async def limit(nursery: trio.Nursery) -> None:
    """No test may wait for ever."""

    async def fail() -> None:
        await trio.sleep(LONGEST_TEST)
        pytest.fail(f"the test took longer than {LONGEST_TEST:g} s")

    nursery.start_soon(fail)


@pytest.fixture
async def transport(broker: Broker, limit: None) -> AmqpTransport:
    """The transport to the tests' broker."""
    return AmqpTransport(broker.url)


@pytest.fixture
def topology(queue: str) -> Topology:
    """A queue of the test's own, declared by whoever opens a session."""
    return Topology(queue=queue)
