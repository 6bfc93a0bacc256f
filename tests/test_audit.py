"""The audit: what was batched with whom and when, and who was turned away, as a replay needs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker
from rpcb_trio._instruments import (
    Audit,
    AuditBatch,
    AuditRequest,
    AuditStart,
)
from rpcb_trio.batching import Batch, Ending, Run, Trigger, Work
from rpcb_trio.errors import BrokerError, OutOfMemory
from rpcb_trio.instruments import AuditInstrument, Setup, read_audit
from tests.scenarios import QUEUE, Shouting, ask, working

NOW = 1_800_000_000.0
"""The time of day throughout."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("rpcb_trio._instruments._audit.time", SimpleNamespace(time=lambda: NOW))
    return tmp_path / "audit.jsonl"


class Weighed(Shouting):
    """Costs a character each; `wide` ones fill the memory alone."""

    def cost(self, item: str) -> float:
        return len(item)

    def infer(self, items: Sequence[str]) -> list[str | Exception]:
        if len(items) > 1 and any(item.startswith("wide") for item in items):
            raise OutOfMemory("no room")
        return super().infer(list(items))


def requests_of(audit: Audit) -> list[str | None]:
    return [each.correlation_id for batch in audit.batches for each in batch.requests]


async def test_a_batch_is_written_with_its_requests_its_runs_and_its_times(
    file: Path, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", expiration=60.0)
    policy = FixedPolicy(2, max_wait=5.0)
    audit = AuditInstrument(file, "asr")
    async with working(
        Weighed(), broker, batching=policy, service_time=lambda b: b, instruments=[audit]
    ) as running:
        await trio.sleep(1.0)
        ask(broker, b"wide 22", reply_to=None)
        await running.until_settled(2)
    [found] = read_audit(file)
    [batch] = found.batches
    [closed] = running.batches
    request = AuditRequest(
        position=0,
        correlation_id="1",
        caller=batch.requests[0].caller,
        priority=0,
        cost=6.0,
        arrived=0.0,
        deadline=60.0,
        redelivered=False,
        wait=1.0,
    )
    second = AuditRequest(
        position=1,
        correlation_id="22",
        caller=None,
        priority=0,
        cost=7.0,
        arrived=1.0,
        deadline=None,
        redelivered=False,
        wait=0.0,
    )
    assert batch == AuditBatch(
        start=found.start.start,
        worker="asr",
        unix=NOW - 4.0,
        at=1.0,
        id=closed.id,
        trigger=Trigger.SIZE,
        size=2,
        work=Work(2, 7.0, 13.0),
        predicted=None,
        seconds=4.0,
        runs=(
            Run(Work(2, 7.0, 13.0), 2.0, Ending.OUT_OF_MEMORY),
            Run(Work(1, 6.0, 6.0), 1.0, Ending.COMPUTED),
            Run(Work(1, 7.0, 7.0), 1.0, Ending.COMPUTED),
        ),
        requests=(request, second),
    )


async def test_a_start_says_what_the_worker_was_started_with(file: Path, autojump_clock: MockClock) -> None:
    await trio.sleep(7.0)
    async with working(
        Shouting(),
        MemoryBroker(),
        batching=FixedPolicy(4),
        executors=2,
        prefetch=50,
        instruments=[AuditInstrument(file, "asr")],
    ):
        [found] = read_audit(file)
    setup = Setup(
        queue=QUEUE, policy="FixedPolicy", max_batch_size=4, max_pending=None, prefetch=50, executors=2
    )
    id_ = found.start.start
    start = AuditStart(start=id_, worker="asr", unix=NOW, at=7.0, schema=2, setup=setup)
    assert found == Audit(start, (), ())


async def test_who_was_not_computed_is_written_with_the_reason_and_the_wait(
    file: Path, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with working(
        Weighed(),
        broker,
        batching=FixedPolicy(1),
        service_time=lambda _: 10.0,
        max_pending=1,
        prefetch=10,
        instruments=[AuditInstrument(file)],
    ) as running:
        ask(broker, b"good 1")
        await trio.sleep(1.0)
        ask(broker, b"brief 2", expiration=4.0)
        await trio.sleep(1.0)
        ask(broker, b"good 3")
        await running.until_settled(3)
        ask(broker, b"\xff 4")
        await running.until_settled(4)
    [found] = read_audit(file)
    assert requests_of(found) == ["1"]
    told = [
        (each.request.correlation_id, each.why, each.request.cost, each.at, each.request.wait)
        for each in found.refused
    ]
    assert told == [
        ("3", "overloaded", None, 2.0, 0.0),
        ("2", "expired", 7.0, 10.0, 9.0),
        ("4", "decode", None, 10.0, 0.0),
    ]
    assert all(each.request.position is None for each in found.refused)
    assert found.refused[1].request.deadline == 4.0


async def test_a_callers_address_is_not_written_but_he_is_known_again_in_every_file(
    file: Path, autojump_clock: MockClock
) -> None:
    callers: list[str | None] = []
    for name in ("one", "two"):
        broker, part = MemoryBroker(), file.with_name(name)
        ask(broker, b"good 1", b"good 2")
        ask(broker, b"good 3", reply_to="amq.rabbitmq.reply-to.token")
        async with working(Shouting(), broker, instruments=[AuditInstrument(part)]) as running:
            await running.until_settled(3)
        [found] = read_audit(part)
        callers += [each.caller for batch in found.batches for each in batch.requests]
        assert "token" not in part.read_text()
    assert callers[:3] == callers[3:]
    assert callers[0] == callers[1] != callers[2]
    assert all(caller is not None and len(caller) == 16 for caller in callers)


async def test_a_batch_is_in_the_file_as_soon_as_its_replies_are_confirmed(
    file: Path, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, instruments=[AuditInstrument(file)]) as running:
        for number in range(3):
            ask(broker, b"good %d" % number)
            await running.until_settled(number + 1)
            [found] = read_audit(file)
            assert len(found.batches) == number + 1


class Losing(AuditInstrument):
    """Loses the session just when the first batch is computed, before anybody is answered."""

    def __init__(self, file: Path, broker: MemoryBroker) -> None:
        super().__init__(file)
        self.file = file
        self.broker = broker
        self.written: list[str | None] = []

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:
        super().batch_computed(batch, seconds, runs)
        if not self.written:
            self.broker.disconnect()

    def session_lost(self, error: BrokerError, retry_in: float) -> None:
        super().session_lost(error, retry_in)
        self.written = requests_of(read_audit(self.file)[0])


async def test_what_was_computed_though_it_could_not_be_answered_is_written_too(
    file: Path, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    audit = Losing(file, broker)
    async with working(Shouting(), broker, instruments=[audit]) as running:
        await running.until_settled(1)
    assert audit.written == ["1"]
    [found] = read_audit(file)
    assert [each.redelivered for batch in found.batches for each in batch.requests] == [False, True]


async def test_workers_that_share_a_file_are_told_apart_as_are_a_workers_starts(
    file: Path, autojump_clock: MockClock
) -> None:
    first, second = MemoryBroker(), MemoryBroker()
    ask(first, b"good 1", b"good 2")
    ask(second, b"good 3")
    async with (
        working(Shouting(), first, instruments=[AuditInstrument(file, "a")], batching=FixedPolicy(1)) as a,
        working(Shouting(), second, instruments=[AuditInstrument(file, "b")]) as b,
    ):
        await a.until_settled(2)
        await b.until_settled(1)
    ask(first, b"good 4")
    async with working(Shouting(), first, instruments=[AuditInstrument(file, "a")]) as a:
        await a.until_settled(1)
    found = [(each.start.worker, requests_of(each)) for each in read_audit(file)]
    assert found == [("a", ["1", "2"]), ("b", ["3"]), ("a", ["4"])]
