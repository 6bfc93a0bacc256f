"""A password or token that changes reaches the broker before it is asked for."""

from __future__ import annotations

import logging

import pytest
import trio

from rpcb_trio import SettingError, Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import SessionLost
from tests.amqp.producer import Producer, answer
from tests.amqp.tokens import ALL, READ_ONLY, token
from tests.rabbitmq import Broker, Node

RENEWED = "the broker was told a new password"


class Urls:
    """What a worker is told when it asks for its URL."""

    def __init__(self, broker: Broker, password: str, user: str = "guest") -> None:
        self._place = f"@{broker.url.rpartition('@')[2]}"
        self._user = user
        self.password = password

    def __call__(self) -> str:
        return f"amqp://{self._user}:{self.password}{self._place}"


async def until(caplog: pytest.LogCaptureFixture, text: str, times: int) -> None:
    with trio.fail_after(10):
        while caplog.text.count(text) < times:  # noqa: ASYNC110 - a log has no event
            await trio.sleep(0.01)


async def test_a_new_token_is_told_on_every_open_connection_and_counts_at_once(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    queue = node.fresh_name()
    caplog.set_level(logging.DEBUG)
    urls = Urls(node, token(READ_ONLY), user="worker")
    transport = AmqpTransport(urls, refresh=0.02)
    async with transport.open_session(Topology(queue=queue), prefetch=10) as session:
        urls.password = token(ALL)  # without it nothing could be published
        await until(caplog, RENEWED, 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, session, 1)
            [(_, body)] = await Producer(node, queue).call(b"renewed")
        assert body == b"RENEWED"
    assert caplog.text.count(RENEWED) == 2, "one for each connection, and only when it changes"
    assert urls.password not in caplog.text


async def test_without_the_new_token_the_old_ones_rights_hold(node: Node) -> None:
    queue = node.fresh_name()
    transport = AmqpTransport(Urls(node, token(READ_ONLY), user="worker"), refresh=0.02)
    with pytest.raises(SessionLost, match="may not publish"):  # noqa: PT012 - it comes out of both
        async with transport.open_session(Topology(queue=queue), prefetch=10) as session:
            await Producer(node, queue).send(b"x", reply_to="nobody")
            await answer(session, 1)


async def test_a_token_that_the_broker_refuses_is_told_and_never_shown(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    queue = node.fresh_name()
    caplog.set_level(logging.DEBUG)
    urls = Urls(node, token(ALL), user="worker")
    async with AmqpTransport(urls, refresh=0.02).open_session(Topology(queue=queue), prefetch=10):
        urls.password = "no.such.token"  # noqa: S105 - of a test
        await until(caplog, "the broker did not take a new password: ", 1)
    assert "no.such.token" not in caplog.text


async def test_a_function_that_fails_later_costs_a_line_and_no_connection(
    broker: Broker, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    urls = Urls(broker, "guest")
    transport = AmqpTransport(urls, refresh=0.02)
    async with transport.open_session(Topology(queue=queue), prefetch=10) as session:
        urls.password = "half/written"  # noqa: S105 - of a test
        await until(caplog, "the connections keep their password: url can't be read", 1)
        urls.password = "guest"  # noqa: S105 - of a test
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, session, 1)
            assert len(await Producer(broker, queue).call(b"x")) == 1
    assert "half" not in caplog.text


def test_a_function_that_fails_at_the_start_is_a_wrong_setting_without_what_it_says() -> None:
    def ask() -> str:
        raise OSError("hunter2 was not accepted")

    with pytest.raises(SettingError, match=r"its function raised OSError$") as caught:
        AmqpTransport(ask)
    assert caught.value.__suppress_context__
