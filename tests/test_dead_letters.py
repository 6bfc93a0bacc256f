"""In virtual time: where requests go that can't be answered, and what the log says of it."""

from __future__ import annotations

import logging

import pytest
from trio.testing import MockClock

from rpcb_trio import LogInstrument, MemoryBroker, Topology
from rpcb_trio.instruments import Answer, Settled
from tests.scenarios import QUEUE, Shouting, ask, taken, working

DEAD = "dead"
KEEPING = Topology(queue=QUEUE, dead_letter_exchange="", dead_letter_routing_key=DEAD)


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.declare(DEAD)
    return broker


@pytest.mark.parametrize("topology", [KEEPING, Topology(queue=QUEUE)], ids=["kept", "dropped"])
async def test_the_embedded_broker_keeps_dead_letters_with_the_reason_where_an_exchange_is_set(
    broker: MemoryBroker, topology: Topology
) -> None:
    ask(broker, b"good 1", headers={"own": 1})
    async with broker.open_session(topology, prefetch=1) as session:
        request = await session.requests.receive()
        assert await session.settle([Answer(request, None, dead_letter="it is\npoison")]) == [
            Settled.REJECTED
        ]
    assert broker.depth(QUEUE) == 0
    letters = list(taken(broker, DEAD))
    assert [letter.body for letter in letters] == ([b"good 1"] if topology is KEEPING else [])
    for letter in letters:
        assert letter.correlation_id == "1"
        assert letter.headers["own"] == 1
        assert letter.headers["rpcb-dead-letter-reason"] == "it is poison"
        assert letter.headers["rpcb-dead-letter-queue"] == QUEUE


@pytest.mark.parametrize("topology", [KEEPING, Topology(queue=QUEUE)], ids=["kept", "dropped"])
async def test_a_worker_without_a_dead_letter_exchange_warns_once_when_it_starts(
    broker: MemoryBroker, topology: Topology, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(Shouting(), broker, queue=topology, instruments=[LogInstrument()]) as running:
        broker.disconnect()
        ask(broker, b"good 1")
        await running.until_settled(1)
    told = [record.levelno for record in caplog.records if "dead_letter_exchange" in record.getMessage()]
    assert told == ([] if topology is KEEPING else [logging.WARNING])
