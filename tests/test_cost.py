"""What `cost` says of an item goes with it; what is no cost fails its own request."""

from __future__ import annotations

import math

import pytest
from trio.testing import MockClock

from rpcb_trio import MemoryBroker
from tests.scenarios import Shouting, answers, ask, working


class Weighed(Shouting):
    def __init__(self, wrong: object) -> None:
        super().__init__()
        self.wrong = wrong

    def cost(self, item: str) -> object:
        return self.wrong if item.startswith("wrong") else len(item)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0, None, "three"])
async def test_what_is_no_number_from_0_up_fails_its_own_request_and_no_other(
    wrong: object, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"wrong 1", b"good 2")
    async with working(Weighed(wrong), broker) as running:
        await running.until_settled(2)
    assert answers(broker) == {"1": b"failed:cost", "2": b"ok:GOOD 2"}
    assert [member.cost for batch in running.batches for member in batch.members] == [6.0]
