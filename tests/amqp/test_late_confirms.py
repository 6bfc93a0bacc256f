"""A reply that the broker does not confirm: whose condition that is, told by what is confirmed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NoReturn, cast

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import Reply, Request
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._data import OPEN, PublishResult
from rpcb_trio._transports._amqp._destinations import Destinations
from rpcb_trio._transports._amqp._outbox import UNCONFIRMED
from rpcb_trio._transports._amqp._settlement import CONFIRM_SECONDS, Settlement
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer


class Unconfirmed:
    """Stands in for what was sent and for the outbox: nothing is ever said of it."""

    abandoned: Collection[int] = ()

    async def results(self, seconds: float) -> list[PublishResult]:
        await trio.sleep(seconds)
        return [OPEN]

    def abandon(self, places: Collection[int]) -> None:
        self.abandoned = places or self.abandoned

    def refuse(self, reason: str) -> NoReturn:
        raise SessionLost(reason)


async def wait(meanwhile: Callable[[Destinations], None]) -> list[PublishResult]:
    """Settle one reply to `inbox`, while something happens every second; returns what became of it."""
    destinations, sent, results = Destinations(100), Unconfirmed(), [OPEN]
    answer = Answer(Request(body=b"", arrived=0.0, reply_to="inbox"), Reply(body=b""))
    settlement = Settlement("work", [answer], [None], results, ack=lambda _: None, keeps_trying=False)

    async def happen() -> None:
        while True:
            await trio.sleep(1)
            meanwhile(destinations)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(happen)
        as_any = cast(Any, sent)
        await settlement.finish(as_any, as_any, destinations, Blockage())
        nursery.cancel_scope.cancel()
    assert sent.abandoned == [0]
    return results


@pytest.mark.parametrize("address", ["inbox", "another"])
async def test_one_that_is_not_confirmed_while_others_are_is_given_up_alone_wherever_they_go(
    address: str, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    assert await wait(lambda destinations: destinations.note_passed([address])) == [UNCONFIRMED]
    assert trio.current_time() - started >= CONFIRM_SECONDS


async def test_where_no_reply_is_confirmed_the_session_ends(autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(SessionLost):
        await wait(lambda _: None)
