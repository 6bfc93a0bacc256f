"""A worker that tenants share takes in what a flood sends, and refuses what is more than its share."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, SettingError
from rpcb_trio._pipeline import checked_intake
from rpcb_trio.batching import Shares
from rpcb_trio.testing import Recorder
from tests.scenarios import QUEUE, Shouting, answers, ask, taken, working

TENANT = "x-tenant"


def send(broker: MemoryBroker, tenant: str, *numbers: int) -> None:
    ask(broker, *(b"crowd %s%d" % (tenant.encode(), number) for number in numbers), headers={TENANT: tenant})


def tenants(recorder: Recorder) -> list[Counter[object]]:
    """Of each batch."""
    return [Counter(member.request.headers[TENANT] for member in batch.members) for batch in recorder.batches]


async def test_a_flood_does_not_stand_before_the_requests_of_others(autojump_clock: MockClock) -> None:
    """Though it was sent first, and far beyond what may wait: the quiet one is in the next batch."""
    broker = MemoryBroker()
    async with working(
        Shouting(), broker, batching=FixedPolicy(4), shares=Shares(TENANT), service_time=lambda _: 1.0
    ) as running:
        send(broker, "loud", 0)
        await trio.sleep(0.5)
        send(broker, "loud", *range(1, 1000))
        send(broker, "quiet", 0, 1)
        await trio.sleep(0.25)
        early = answers(broker)
        assert set(early.values()) == {b"failed:overloaded"}, "in no time, while the first batch is computed"
    refused = Counter({**early, **answers(broker)}.values())[b"failed:overloaded"]
    assert refused == 999 + 2 - 32, "8 batches may wait"
    reasons = {str(error) for _, error in running.refusals}
    assert reasons == {"32 requests wait already (max_pending); tenant loud has its share of them"}
    assert tenants(running)[:2] == [{"loud": 1}, {"loud": 2, "quiet": 2}]
    assert running.sizes == [1, *[4] * 8]


async def test_without_shares_the_flood_is_served_first(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=FixedPolicy(4), service_time=lambda _: 1.0) as running:
        send(broker, "loud", *range(20))
        send(broker, "quiet", 0)
        await running.until_settled(21)
    assert tenants(running)[-1] == {"loud": 3, "quiet": 1}


async def test_requests_that_a_lost_session_redelivers_are_never_turned_away(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(
        Shouting(),
        broker,
        batching=FixedPolicy(2),
        shares=Shares(TENANT),
        max_pending=4,
        service_time=lambda _: 10.0,
    ) as running:
        send(broker, "loud", *range(5))
        await trio.sleep(1)
        broker.disconnect()
        await trio.sleep(3)
        send(broker, "quiet", *range(9))
        await running.until_settled(14)
    refused = [str(name) for name, body in answers(broker).items() if body == b"failed:overloaded"]
    assert refused
    assert not any(name.startswith("loud") for name in refused)


async def test_shares_change_while_the_worker_runs(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(
        Shouting(), broker, batching=FixedPolicy(4), prefetch=200, service_time=lambda _: 1.0
    ) as running:
        send(broker, "a", *range(8))
        send(broker, "b", *range(8))
        await trio.sleep(0.5)
        await running.worker.change(shares=Shares(TENANT, {"b": 3}))
    assert tenants(running) == [{"a": 1}, {"a": 1, "b": 3}, {"a": 1, "b": 3}, {"a": 2, "b": 2}, {"a": 3}]


async def test_what_is_sent_without_the_header_is_shared_by_where_it_is_answered(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    broker.declare("mine")
    async with working(
        Shouting(), broker, batching=FixedPolicy(4), shares=Shares(TENANT), service_time=lambda _: 1.0
    ) as running:
        ask(broker, *(b"good %d" % number for number in range(9)))
        await trio.sleep(0.5)
        ask(broker, b"good 9", reply_to="mine")
    assert [reply.body for reply in taken(broker, "mine")] == [b"ok:GOOD 9"]
    callers = [Counter(member.request.reply_to for member in batch.members) for batch in running.batches]
    assert callers == [{"answers": 1}, {"answers": 3, "mine": 1}, {"answers": 4}, {"answers": 1}]


@pytest.mark.parametrize(
    ("prefetch", "max_pending", "found"),
    [
        (None, None, (32 + 256 + 128, 256)),
        (None, 64, (32 + 64 + 128, 64)),
        (1000, None, (1000, 1000 - 32 - 128)),
        (1000, 64, (1000, 64)),
    ],
    ids=str,
)
def test_the_prefetch_has_room_for_what_waits_and_for_what_is_refused(
    prefetch: int | None, max_pending: int | None, found: tuple[int, int]
) -> None:
    assert checked_intake(prefetch, max_pending, Shares(), max_batch_size=32, executors=1) == found


def test_the_largest_batches_leave_room_within_what_amqp_allows() -> None:
    prefetch, max_pending = checked_intake(None, None, Shares(), max_batch_size=20_000, executors=2)
    assert (prefetch, max_pending) == (65_535, 65_535 - 40_000 - 128)


@pytest.mark.parametrize(
    ("prefetch", "max_pending", "says"),
    [
        (
            64,
            None,
            r"^prefetch is 64, .* at least 192 \(max_batch_size \* executors \+ max_batch_size \+ 128\)",
        ),
        (
            300,
            256,
            r"^prefetch is 300, .* at least 416 \(max_batch_size \* executors \+ max_pending \+ 128\)",
        ),
        (None, 8, r"^max_pending is 8, but max_batch_size is 32"),
        (None, 65_535, r"^prefetch is 65695; AMQP allows 65535 at most"),
    ],
    ids=str,
)
def test_a_prefetch_that_a_flood_would_fill_is_refused(
    prefetch: int | None, max_pending: int | None, says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        checked_intake(prefetch, max_pending, Shares(), max_batch_size=32, executors=1)


async def test_shares_of_another_kind_are_refused_at_the_start() -> None:
    with pytest.raises(SettingError, match=r"^shares is 'x-tenant'; give Shares\('x-tenant'\)"):
        async with working(Shouting(), MemoryBroker(), shares="x-tenant", queue=QUEUE):
            pass
