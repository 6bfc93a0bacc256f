"""A reply that the broker does not confirm: whose condition that is, told by what is confirmed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, cast

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import Reply, Request
from rpcb_trio._transports._amqp._data._publications import (
    UNCONFIRMED,
    PublishResult,
)
from rpcb_trio._transports._amqp._session._addressing import address
from rpcb_trio._transports._amqp._session._blockage import Blockage
from rpcb_trio._transports._amqp._session._destinations import Destinations
from rpcb_trio._transports._amqp._session._outbox import Outbox
from rpcb_trio._transports._amqp._session._outbox_channel import OutboxChannel
from rpcb_trio._transports._amqp._session._settlement import CONFIRM_SECONDS, Settlement
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer


class Unconfirmed:
    """Stands in for the outbox: no word ever comes on what was sent."""

    async def results(self, _publisher: object, _replies: object, seconds: float) -> None:
        await trio.sleep(seconds)

    def end_session(self, reason: str) -> NoReturn:
        raise SessionLost(reason)


async def wait(meanwhile: Callable[[Destinations], None]) -> PublishResult:
    """Settle one reply to `inbox`, while something happens every second; returns what became of it."""
    destinations, outbox = Destinations(100), cast(Outbox, Unconfirmed())
    settlement = Settlement("work", outbox, destinations, Blockage(), ack=lambda _: None, keeps_trying=False)
    reply = address(Answer(Request(body=b"", arrived=0.0, reply_to="inbox"), Reply(body=b"")))

    async def happen() -> None:
        while True:
            await trio.sleep(1)
            meanwhile(destinations)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(happen)
        await settlement.finish([reply], cast(OutboxChannel, None))
        nursery.cancel_scope.cancel()
    return reply.result


@pytest.mark.parametrize("address", ["inbox", "another"])
async def test_one_that_is_not_confirmed_while_others_are_is_given_up_alone_wherever_they_go(
    address: str, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    assert await wait(lambda destinations: destinations.note_passed([address])) == UNCONFIRMED
    assert trio.current_time() - started >= CONFIRM_SECONDS


async def test_where_no_reply_is_confirmed_the_session_ends(autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(SessionLost):
        await wait(lambda _: None)
