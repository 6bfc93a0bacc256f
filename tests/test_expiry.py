"""What has expired is not computed; it is answered with an error, or dropped, as set."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, LogInstrument, MemoryBroker, Topology, open_client
from rpcb_trio.batching import Decision, Pending
from rpcb_trio.errors import DecodeError, Expired
from rpcb_trio.instruments import Answer, Settled
from tests.scenarios import QUEUE, Shouting, answers, ask, working


class Quick(FixedPolicy):
    """Gives up whatever has less than ten seconds left."""

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        hopeless = tuple(each for each in pending if (each.request.deadline or 1e9) < now + 10)
        if hopeless:
            return Decision(too_late=hopeless)
        return super().decide(pending, now, final=final, others_idle=others_idle)


async def test_what_has_expired_is_dropped_without_a_reply_where_that_is_set(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rpcb_trio")
    broker, service = MemoryBroker(), Shouting()
    ask(broker, b"good 1")
    async with working(
        service,
        broker,
        batching=FixedPolicy(),
        expired="drop",
        service_time=lambda _: 10.0,
        instruments=[LogInstrument()],
    ) as running:
        await trio.sleep(1)
        ask(broker, b"brief 2", b"brief 3", expiration=5.0)
        ask(broker, b"good 4", b"\xff 5")
        await trio.sleep(20)
        assert running.worker.held == 0
    assert answers(broker) == {"1": b"ok:GOOD 1", "4": b"ok:GOOD 4", "5": b"failed:decode"}
    assert service.runs == [["good 1"], ["good 4"]]
    assert broker.depth(QUEUE) == 0
    assert running.endings == {Settled.REPLIED: 3, Settled.DROPPED: 2}
    assert [type(error) for _, error in running.failures] == [DecodeError]
    dropped = [answer for answer, ending in running.settled if ending is Settled.DROPPED]
    assert [(each.request.correlation_id, each.reply, type(each.error)) for each in dropped] == [
        ("2", None, Expired),
        ("3", None, Expired),
    ]
    told = [record.levelno for record in caplog.records if record.getMessage().endswith("(dropped)")]
    assert told == [logging.INFO] * 2


@pytest.mark.parametrize(
    ("expired", "replies"), [("answer", {"1": b"failed:too-late"}), ("drop", {})], ids=str
)
async def test_what_would_expire_before_its_batch_is_done_fares_as_what_has_expired(
    expired: str, replies: dict[str, bytes], autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"brief 1", expiration=5.0)
    ask(broker, b"good 2")
    async with working(Shouting(), broker, expired=expired, batching=Quick(max_wait=0.25)):  # type: ignore[arg-type] # a parameter
        pass
    assert answers(broker) == {"2": b"ok:GOOD 2", **replies}


async def test_all_of_a_batch_may_be_dropped(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"brief 1", b"brief 2", expiration=5.0)
    async with working(Shouting(), broker, expired="drop", batching=Quick()) as running:
        await running.until_settled(2)
    assert running.endings == {Settled.DROPPED: 2}
    assert running.batches == []


@pytest.mark.parametrize("reply_to", [None, "answers"])
async def test_an_answer_without_a_reply_is_acked_and_nothing_is_published(
    reply_to: str | None, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2", reply_to=reply_to)
    async with broker.open_session(Topology(queue=QUEUE), prefetch=2) as session:
        held = [await session.requests.receive() for _ in range(2)]
        settled = await session.settle([Answer(request, None) for request in held])
    assert settled == [Settled.DROPPED] * 2
    assert answers(broker) == {}
    assert broker.depth(QUEUE) == 0


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"rpcb-deadline": 1_700_000_000}, b"failed:expired"),
        ({"rpcb-deadline": "1700000000"}, b"failed:expired"),
        ({"rpcb-deadline": "soon"}, b"ok:BRIEF 1"),
        ({"rpcb-deadline": 1e11}, b"ok:BRIEF 1"),
        ({"timestamp_in_ms": 1_700_000_000_000}, b"failed:expired"),
        ({"timestamp_in_ms": -1}, b"ok:BRIEF 1"),
    ],
    ids=str,
)
async def test_the_embedded_broker_knows_the_same_headers(
    headers: dict[str, object], answer: bytes, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"brief 1", expiration=60.0, headers=headers)
    async with working(Shouting(), broker, batching=FixedPolicy()):
        pass
    assert answers(broker) == {"1": answer}


async def test_an_absolute_deadline_passes_on_trios_clock(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    policy = FixedPolicy()
    async with working(Shouting(), broker, batching=policy, service_time=lambda _: 10_000.0) as running:
        await trio.sleep(1)
        ask(broker, b"brief 2", headers={"rpcb-deadline": time.time() + 5_000})
        ask(broker, b"brief 3", headers={"rpcb-deadline": time.time() + 50_000})
        await running.until_settled(3)
    assert answers(broker) == {"1": b"ok:GOOD 1", "2": b"failed:expired", "3": b"ok:BRIEF 3"}


async def test_a_call_of_higher_priority_is_computed_first(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with (
        working(service, broker, batching=FixedPolicy(1), prefetch=10, service_time=lambda _: 10.0),
        open_client(broker) as client,
        trio.open_nursery() as nursery,
    ):
        for number, priority in enumerate([None, None, 0, 9, 255]):
            call = partial(client.call, b"good %d" % number, queue=QUEUE, priority=priority, timeout=100)
            nursery.start_soon(call)
            await trio.sleep(0.25)
    assert service.runs == [["good 0"], ["good 4"], ["good 3"], ["good 1"], ["good 2"]]
