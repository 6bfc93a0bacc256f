"""The broker to measure with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.rabbitmq import Broker, some_broker


@contextmanager
def broker_at(url: str | None) -> Iterator[Broker]:
    """The broker at `url`; without one, that of the tests: a private node unless a variable names another."""
    if url is not None:
        yield Broker(url)
        return
    try:
        with some_broker() as broker:
            yield broker
    except pytest.fail.Exception as error:  # the tests' way to say that there is no broker to be had
        raise SystemExit(str(error)) from None


@contextmanager
def fresh_queue(broker: Broker) -> Iterator[str]:
    """A queue as the worker would declare it; it is gone at the end."""
    name = broker.fresh_name("bench")
    with broker.channel() as channel:
        channel.queue_declare(name, durable=True)
        try:
            yield name
        finally:
            channel.queue_delete(name)
