"""A reply whose confirm is late, or never comes, holds up no other reply; a drain waits for all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, Topology
from rpcb_trio._transports import Rest, Session
from rpcb_trio.errors import DrainTimeout
from rpcb_trio.instruments import Answer, Settled
from tests.scenarios import Shouting, answers, ask, working

MUTE = "mute"


class Unconfirming(MemoryBroker):
    """Confirms nothing that is sent to one queue, for so many seconds."""

    seconds = 10_000.0

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        async with super().open_session(topology, prefetch=prefetch) as session:
            settle = session.settle

            async def settle_promptly(
                answers: Sequence[Answer],
            ) -> tuple[Sequence[Settled | None], Rest | None]:
                if all(answer.request.reply_to != MUTE for answer in answers):
                    return await settle(answers), None

                async def wait() -> list[Settled]:
                    await trio.sleep(self.seconds)
                    return await settle(answers)

                return [None] * len(answers), wait

            session.settle_promptly = settle_promptly  # type: ignore[method-assign] # to meddle with it
            yield session


async def test_settlements_that_never_end_hold_up_no_other_reply(autojump_clock: MockClock) -> None:
    broker = Unconfirming()
    broker.declare(MUTE)
    with pytest.raises(DrainTimeout, match="with 5 request"):  # noqa: PT012 - it comes at the end
        async with working(Shouting(), broker, batching=FixedPolicy(1), prefetch=10) as running:
            ask(broker, *(b"good mute-%d" % n for n in range(5)), reply_to=MUTE)  # more than reply tasks
            await trio.sleep(1)
            for n in range(20):
                ask(broker, b"good %d" % n)
                await trio.sleep(0.1)
            assert len(answers(broker)) == 20
            assert running.worker.held == 5


async def test_a_drain_waits_for_settlements_that_are_late(autojump_clock: MockClock) -> None:
    broker = Unconfirming()
    broker.seconds = 20.0
    broker.declare(MUTE)
    async with working(Shouting(), broker, batching=FixedPolicy(1), prefetch=10, drain_timeout=30) as running:
        ask(broker, b"good 1", b"good 2", b"good 3", reply_to=MUTE)
        await trio.sleep(1)
    assert running.endings == {Settled.REPLIED: 3}
    assert running.left == 0
