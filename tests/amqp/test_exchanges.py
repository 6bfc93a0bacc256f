"""Whether an exchange is there is asked once, by however many messages, and asked again after a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import trio
from trio.testing import MockClock

from rpcb_trio._transports._amqp._data._closing import NOT_FOUND, ChannelRefused, Closing
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._publications import PublishStatus
from rpcb_trio._transports._amqp._session._outbox_channel import ABSENT_SECONDS, Exchanges


class Asked:
    """Stands in for a connection, and counts the questions."""

    def __init__(self) -> None:
        self.there = set[str]()
        self.questions = list[str]()

    @asynccontextmanager
    async def throwaway_channel(self, _seconds: float) -> AsyncIterator[Any]:
        yield SimpleNamespace(declare_exchange=self._declare)

    async def _declare(self, name: str, *, passive: bool) -> None:
        assert passive
        self.questions.append(name)
        await trio.sleep(0.1)
        if name not in self.there:
            raise ChannelRefused(Closing(f"NOT_FOUND - no exchange '{name}'", NOT_FOUND))


async def ask(exchanges: Exchanges, name: str) -> list[PublishStatus | None]:
    """Ask for 20 messages at the same time."""
    found = list[PublishStatus | None]()

    async def ask_once() -> None:
        refusal = await exchanges.refusal(name)
        found.append(None if refusal is None else refusal.status)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask_once)
    return found


async def test_a_missing_exchange_is_asked_for_once_until_a_while_has_passed(
    autojump_clock: MockClock,
) -> None:
    broker = Asked()
    exchanges = Exchanges(cast(Connection, broker))
    assert await ask(exchanges, "x") == [PublishStatus.RETURNED] * 20
    assert await ask(exchanges, "x") == [PublishStatus.RETURNED] * 20
    assert broker.questions == ["x"]
    broker.there.add("x")
    await trio.sleep(ABSENT_SECONDS)
    assert await ask(exchanges, "x") == [None] * 20
    assert broker.questions == ["x", "x"]


async def test_an_exchange_that_is_there_is_asked_for_once_and_the_default_one_never(
    autojump_clock: MockClock,
) -> None:
    broker = Asked()
    broker.there.add("x")
    exchanges = Exchanges(cast(Connection, broker))
    for _ in range(2):
        assert await ask(exchanges, "x") == [None] * 20
        assert await ask(exchanges, "") == [None] * 20
        await trio.sleep(10 * ABSENT_SECONDS)
    assert broker.questions == ["x"]
