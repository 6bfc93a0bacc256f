"""What is told of a worker, and what is read of others, has bounds; and no two workers are taken for one."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import HealthInstrument, MemoryBroker
from rpcb_trio._events import Observer
from rpcb_trio._events._events import LONGEST_EVENT, decoded
from rpcb_trio.errors import SessionLost
from rpcb_trio.events import EventInstrument, StateEvent
from rpcb_trio.instruments import AuditInstrument, Condition, read_audit
from tests.events.watching import state
from tests.scenarios import Shouting, ask, steady, working

HOSTILE = ["x" * 10**7, "\ud800", "\x1b[2J\n" * 10**5, "\x00" * 10**5, "é" * 10**5]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_reason_that_quotes_anything_is_bounded_text_of_one_line(
    text: str, autojump_clock: MockClock
) -> None:
    health = HealthInstrument("asr")
    health.session_lost(SessionLost(text), 1.0)
    reason = health.health.reason
    assert reason is not None
    assert len(reason) < 4000
    assert reason.isprintable()
    msgspec.json.encode(health.health)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_whatever_a_worker_publishes_its_readers_take(text: str, autojump_clock: MockClock) -> None:
    events = EventInstrument(text, device=text)
    async with working(Shouting(), MemoryBroker(), instruments=[events]):
        events.session_lost(SessionLost(text), 1.0)
        told = await events.buffer.take()
    assert told
    for event in told:
        body = msgspec.json.encode(event)
        assert len(body) <= LONGEST_EVENT
        assert decoded(body) == event
        event.routing_key.encode()


def with_fields(**fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(state(1)) | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"worker": "x" * 256},
        {"host": "x" * 256},
        {"start": "x" * 256},
        {"queue": "x" * 256},
        {"queue": "\U0001f511" * 64},
        {"device": "x" * 256},
        {"policy": "x" * 256},
        {"reason": "x" * 601},
        {"seconds": 1e300},
        {"unix": -1e300},
        {"pid": -1},
        {"rss": 2**60},
        {"unknown": "x" * LONGEST_EVENT},
    ],
    ids=str,
)
def test_an_event_beyond_the_bounds_is_passed_over(fields: dict[str, Any]) -> None:
    assert decoded(with_fields()) == state(1)
    assert decoded(with_fields(**fields)) is None


numbers = st.floats(-1e15, 1e15)
counts = st.integers(0, 2**53)


@steady
@given(
    told=st.lists(
        st.builds(state, st.just(1.0)).flatmap(
            lambda event: st.fixed_dictionaries(
                {
                    "seconds": numbers,
                    "unix": numbers,
                    "answered": counts,
                    "failed": counts,
                    "batches": counts,
                    "max_batch_size": counts,
                    "reason": st.text(max_size=600),
                    "condition": st.sampled_from(Condition),
                }
            ).map(lambda facts: msgspec.structs.replace(event, **facts))
        ),
        min_size=1,
        max_size=10,
    )
)
def test_no_event_within_the_bounds_breaks_the_summary(told: list[StateEvent]) -> None:
    observer = Observer()
    for moment, event in enumerate(told):
        taken = decoded(msgspec.json.encode(event))
        if taken is not None:
            observer.take(taken, float(moment))
    [worker] = observer.workers(float(len(told)))
    assert all(
        not isinstance(value, float) or math.isfinite(value)
        for value in (getattr(worker, field) for field in worker.__struct_fields__)
    )


def test_two_workers_of_the_same_name_host_and_process_id_are_two() -> None:
    observer = Observer()
    for second in range(11):
        for start, each in (("a", 10), ("b", 20)):
            told = msgspec.structs.replace(
                state(second), start=start, unix=float(second), answered=each * second
            )
            observer.take(told, float(second))
    workers = observer.workers(10.0)
    assert [(each.start, each.requests_per_second) for each in workers] == [("a", 10.0), ("b", 20.0)]
    assert observer.queue("work", 10.0).requests_per_second == 30.0


def test_events_without_the_id_of_a_start_are_still_understood() -> None:
    fields = msgspec.to_builtins(state(1))
    del fields["start"]
    assert decoded(msgspec.json.encode(fields)) == state(1)


async def test_each_start_has_an_id_of_its_own_and_the_audit_has_the_same(
    tmp_path: Any, autojump_clock: MockClock
) -> None:
    events = EventInstrument("asr", start="5f3a")
    audit = AuditInstrument(tmp_path / "audit.jsonl", "asr", start="5f3a")
    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(Shouting(), broker, instruments=[events, audit]) as running:
        await running.until_settled(1)
        told = await events.buffer.take()
    await trio.lowlevel.checkpoint()
    [read] = read_audit(tmp_path / "audit.jsonl")
    assert {read.start.start, *(each.start for each in told)} == {"5f3a"}
    starts = {EventInstrument("asr")._identity["start"] for _ in range(8)}
    assert len(starts) == 8
