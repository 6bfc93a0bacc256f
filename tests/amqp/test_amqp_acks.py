"""Acks in the fewest frames, and never for a request that is not answered."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the session lives on it
from functools import partial
from typing import cast

import trio
from aiormq import Channel  # noqa: TID251 - one is played here
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import Request, Topology
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._loop import open_loop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._open_deliveries import OpenDeliveries
from rpcb_trio._transports._amqp._outbox import Outbox
from rpcb_trio._transports._amqp._requesters import Requesters
from rpcb_trio._transports._amqp._session import AmqpSession


def delivered(count: int) -> tuple[OpenDeliveries, list[Request]]:
    opened = OpenDeliveries()
    requests = [Request(body=b"", arrived=0.0, tag=tag) for tag in range(1, count + 1)]
    for request in requests:
        opened.enter(request)
    return opened, requests


@given(st.permutations(range(1, 13)), st.lists(st.integers(1, 4), min_size=12))
def test_the_broker_hears_of_each_tag_exactly_once_when_it_is_settled(
    order: list[int], sizes: list[int]
) -> None:
    opened, _ = delivered(len(order))
    unacked = set(order)
    for size in sizes:
        batch, order = set(order[:size]), order[size:]
        expected = unacked - batch
        for tag, multiple in opened.strike(batch):
            assert tag in unacked
            unacked -= {each for each in unacked if each <= tag} if multiple else {tag}
        assert unacked == expected
        assert len(opened) == len(unacked)


def test_a_batch_in_order_takes_one_frame() -> None:
    opened, _ = delivered(64)
    assert opened.strike(set(range(1, 33))) == [(32, True)]
    assert opened.strike({33}) == [(33, False)]


def test_a_gap_takes_a_frame_for_each_tag_behind_it() -> None:
    opened, _ = delivered(6)
    assert sorted(opened.strike({1, 2, 4, 6})) == [(2, True), (4, False), (6, False)]


def test_a_request_of_another_session_is_not_held_even_under_the_same_tag() -> None:
    opened, requests = delivered(2)
    assert opened.holds(requests[0])
    assert not opened.holds(Request(body=b"", arrived=0.0, tag=1))
    opened.strike({1})
    assert not opened.holds(requests[0])


class HeldUpChannel:
    """A channel whose first ack takes longer to be written than those after it."""

    def __init__(self, count: int) -> None:
        self.unacked = set(range(1, count + 1))
        self._turns = 5

    async def basic_ack(self, tag: int, *, multiple: bool, wait: bool) -> None:
        del wait
        turns, self._turns = self._turns, 0
        for _ in range(turns):
            await asyncio.sleep(0)
        assert tag in self.unacked, "the broker closes the channel for this"
        self.unacked -= {each for each in self.unacked if each <= tag} if multiple else {tag}


async def test_an_ack_that_is_held_up_is_not_overtaken_by_the_next_batches() -> None:
    channel = HeldUpChannel(4)
    _, requests = delivered(4)
    async with open_loop(Loss()) as loop:
        session = AmqpSession(
            loop,
            Loss(),
            Outbox(loop, Loss(), trio.sleep_forever),
            Blockage(),
            Requesters(loop, trio.sleep_forever),
            topology=Topology(queue="q"),
            prefetch=4,
        )
        session._channel = cast(Channel, channel)
        for request in requests:
            session._open.enter(request)
        async with trio.open_nursery() as nursery:
            for tags in ((1, 2), (3, 4)):
                nursery.start_soon(partial(loop.call, session._finish, tags))
    assert channel.unacked == set()
