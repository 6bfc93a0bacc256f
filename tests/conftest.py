"""Fixtures that every test may ask for."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.rabbitmq import Broker, Node, private_node, some_broker


def pytest_configure() -> None:
    """Obey Ctrl-C here and in the workers we start, also where a shell ignores it for what `&` starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real RabbitMQ; one for the whole run, so tests name their queues with `broker.fresh_name()`."""
    with some_broker() as running:
        yield running


@pytest.fixture(scope="session")
def node(broker: Broker) -> Iterator[Node]:
    """A RabbitMQ that `rabbitmqctl` may set up: `broker`, unless that is somebody else's."""
    if isinstance(broker, Node):
        yield broker
        return
    with private_node() as own:
        yield own


@pytest.fixture
def queue(broker: Broker) -> str:
    """The name of a queue that no other test uses."""
    return broker.fresh_name()
