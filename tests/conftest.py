"""Fixtures that every test may ask for."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.rabbitmq import Broker, Node, private_node, some_broker
from tests.scenarios import steady

settings.register_profile("steady", steady)
settings.load_profile("steady")

BROKERS = {"broker", "node"}
"""The fixtures that are a real RabbitMQ."""


def pytest_configure(config: pytest.Config) -> None:
    """Obey Ctrl-C here and in the workers we start, also where a shell ignores it for what `&` starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "rabbitmq: crosses the wire to a real broker (set by its fixtures)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker, so that `-m rabbitmq` runs just that on another RabbitMQ."""
    for item in items:
        if isinstance(item, pytest.Function) and BROKERS.intersection(item.fixturenames):
            item.add_marker("rabbitmq")


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage the thousands of tests, which live as long as the process."""
    gc.freeze()


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
