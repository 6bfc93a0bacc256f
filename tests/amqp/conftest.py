"""Fixtures of the transport's tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from inspect import iscoroutinefunction

import pytest
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Settled
from tests.amqp.producer import Producer
from tests.answering import answering, silent_queue
from tests.rabbitmq import Broker
from tests.scenarios import Shouting

LONGEST_TEST = 180.0


@pytest.fixture
def limit() -> None:
    """No test that asks for it may wait for ever.

    pytest-trio runs no fixture that is not an argument of the test, so the test itself is bounded.
    """


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and "limit" in item.fixturenames
            and iscoroutinefunction(item.obj)
        ):
            item.obj = bounded(item.obj)


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def run(**arguments: object) -> None:
        with trio.move_on_after(LONGEST_TEST) as scope:
            await test(**arguments)
        if scope.cancelled_caught:
            pytest.fail(f"the test took longer than {LONGEST_TEST:g} s")

    return run


@pytest.fixture
async def transport(broker: Broker, limit: None) -> AmqpTransport:
    """The transport to the tests' broker."""
    return AmqpTransport(broker.url)


@pytest.fixture
def topology(queue: str) -> Topology:
    """A queue of the test's own, declared by whoever opens a session."""
    return Topology(queue=queue)


@pytest.fixture
async def dead(broker: Broker, queue: str) -> str:
    """A queue for dead letters."""
    return await _declared(broker, queue, "dead")


@pytest.fixture
async def inbox(broker: Broker, queue: str) -> str:
    """A queue for replies."""
    return await _declared(broker, queue, "inbox")


async def _declared(broker: Broker, queue: str, what: str) -> str:
    name = broker.fresh_name(what)
    await Producer(broker, queue).declare(name)
    return name


@pytest.fixture
def forged(broker: Broker) -> Settled:
    """How a reply to a forged direct reply-to address ends: from 4.3 on the broker confirms and drops it."""
    return Settled.REJECTED if broker.version < (4, 3) else Settled.REPLIED


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """A thread that runs trio, for what programs without it talk to."""
    with start_blocking_portal("trio") as portal:
        yield portal


@pytest.fixture(scope="module")
def shouting(broker: Broker, portal: BlockingPortal) -> Iterator[str]:
    """A queue whose worker answers as `Shouting` does."""
    with answering(portal, broker, Shouting()) as queue:
        yield queue


@pytest.fixture
def silent(broker: Broker) -> str:
    """A queue that nobody reads."""
    return silent_queue(broker)
