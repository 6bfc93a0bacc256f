"""Hooks on the pipeline's events: they see all there is to see, and can't do the pipeline any harm."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatch

import msgspec
import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, Instrument, LogInstrument, MemoryBroker, RequestError
from rpcb_trio.batching import Batch, Decision, Ending, Pending, Trigger
from rpcb_trio.instruments import Setup
from tests.scenarios import QUEUE, Shouting, answers, ask, working

FOURS = FixedPolicy(4, max_wait=1.0)


async def test_a_batch_tells_its_trigger_its_size_and_how_long_each_request_waited(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=FOURS, service_time=lambda b: b) as running:
        ask(broker, b"good 1")
        await trio.sleep(0.5)
        ask(broker, b"good 2")
        await trio.sleep(1.5)
        ask(broker, *(b"good %d" % n for n in range(3, 7)))
        await running.until_settled(6)
        ask(broker, b"good 7")
        await trio.sleep(0.25)
    seen = [(batch.trigger, batch.size, batch.waits) for batch in running.batches]
    assert seen == [
        (Trigger.WAIT, 2, (1.0, 0.5)),
        (Trigger.SIZE, 4, (1.0, 1.0, 1.0, 1.0)),
        (Trigger.FLUSH, 1, (0.25,)),
    ]
    assert running.service_times == [2.0, 4.0, 1.0]
    assert len({batch.id for batch in running.batches}) == 3


async def test_the_time_of_a_batch_includes_the_retries_of_its_parts(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"poison 2")
    async with working(Shouting(), broker, batching=FOURS, service_time=lambda _: 1.0) as running:
        await running.until_settled(2)
    assert running.service_times == [3.0]
    [runs] = running.runs
    assert [(run.work.size, run.seconds, run.ending) for run in runs] == [
        (2, 1.0, Ending.FAILED),
        (1, 1.0, Ending.COMPUTED),
        (1, 1.0, Ending.FAILED),
    ]


async def test_every_request_is_seen_to_come_and_to_go_and_the_failed_ones_with_their_cause(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"sick 2", b"\xff 3")
    async with working(Shouting(), broker, batching=FOURS) as running:
        await running.until_settled(3)
    assert {request.correlation_id for request in running.received} == {"1", "2", "3"}
    causes = {request.correlation_id: type(error.__cause__) for request, error in running.failures}
    assert causes == {"2": ValueError, "3": UnicodeDecodeError}
    assert {answer.request for answer, _ in running.settled} == set(running.received)


class Crashing(Instrument):
    """Fails at its second batch."""

    def __init__(self) -> None:
        self.calls = 0

    def batch_closed(self, batch: Batch) -> None:
        self.calls += 1
        if self.calls == 2:
            raise OSError(f"no room on the disk for {batch.id}")


async def test_an_instrument_that_crashes_is_dropped_and_the_pipeline_goes_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker, crashing = MemoryBroker(), Crashing()
    async with working(Shouting(), broker, instruments=[crashing]) as running:
        for number in range(4):
            ask(broker, b"good %d" % number)
            await running.until_settled(number + 1)
    assert crashing.calls == 2
    assert len(running.batches) == 4
    assert len(answers(broker)) == 4
    assert "Crashing" in caplog.text
    assert "called no more" in caplog.text


async def test_a_function_may_stand_in_for_an_instruments_method(autojump_clock: MockClock) -> None:
    sizes: list[int] = []
    instrument = Instrument()
    instrument.batch_closed = lambda batch: sizes.append(batch.size)  # type: ignore[method-assign] # watched
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2")
    async with working(Shouting(), broker, batching=FOURS, instruments=[instrument]) as running:
        await running.until_settled(2)
    assert sizes == [2]


async def test_the_log_has_a_line_for_each_session_each_failure_and_each_step_of_a_drain(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"sick 1")
    with caplog.at_level(logging.INFO, "rpcb_trio"):
        async with working(Shouting(), broker, instruments=[LogInstrument("asr")]) as running:
            await running.until_settled(1)
            broker.disconnect()
            await trio.sleep(60)
    assert [(record.levelname, record.message.split(" (")[0]) for record in caplog.records] == [
        ("WARNING", "asr: no dead_letter_exchange is set"),
        ("INFO", "asr: consuming from queue work"),
        ("WARNING", "asr: request '1' of 'answers' is answered with an error"),
        ("WARNING", "asr: session lost"),
        ("INFO", "asr: reconnected after 1 attempt(s)"),
        ("INFO", "asr: drain: stop consuming"),
        ("INFO", "asr: drain: finish 0 request(s)"),
        ("INFO", "asr: drain: drained"),
    ]
    assert "ValueError: sick 1" in caplog.text


@pytest.mark.parametrize(
    ("body", "level", "line"),
    [
        (
            b"poison",
            "WARNING",
            "infer failed: RuntimeError: * (scenarios.py:* in infer)",
        ),
        (
            b"mute",
            "WARNING",
            "* could not be encoded: ValueError: * (scenarios.py:* in encode)",
        ),
        (
            b"\xff",
            "INFO",
            "* could not be decoded: Unicode* (scenarios.py:* in decode)",
        ),
    ],
    ids=["infer", "encode", "decode"],
)
async def test_the_first_failure_at_a_place_shows_the_services_own_frames_and_later_ones_are_one_line(
    body: bytes, level: str, line: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    with caplog.at_level(logging.INFO, "rpcb_trio"):
        async with working(Shouting(), broker, instruments=[LogInstrument("asr")]) as running:
            for number in (1, 2):
                ask(broker, b"%b %d" % (body, number))
                await running.until_settled(number)
    told = [each for each in caplog.records if hasattr(each, "code")]
    assert {each.levelname for each in told} == {level}
    first, place, _, second = (each.getMessage() for each in told)
    assert all(fnmatch(each, f"asr: request * {line}") for each in (first, second))
    assert fnmatch(place, 'asr:   *File "*scenarios.py", line *, in *')


class Choosy(Shouting):
    """Refuses each request in words of its own."""

    def decode(self, body: bytes) -> str:
        raise RequestError(f"not {body!r}")


async def test_an_error_that_a_service_raises_to_refuse_a_request_is_one_line(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    with caplog.at_level(logging.INFO, "rpcb_trio"):
        async with working(Choosy(), broker, instruments=[LogInstrument("asr")]) as running:
            ask(broker, b"hello")
            await running.until_settled(1)
    [told] = [each.getMessage() for each in caplog.records if hasattr(each, "code")]
    assert fnmatch(told, "asr: request * (request): not b*hello* (test_instruments.py:* in decode)")


async def test_batches_are_logged_at_debug(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2")
    with caplog.at_level(logging.DEBUG, "rpcb_trio"):
        async with working(
            Shouting(), broker, batching=FOURS, service_time=lambda _: 0.25, instruments=[LogInstrument()]
        ) as running:
            await running.until_settled(2)
    assert "closed by wait with 2 request(s), longest wait 1000.0 ms" in caplog.text
    assert "computed in 250.0 ms" in caplog.text
    assert "predicted" not in caplog.text


class Prophetic(FixedPolicy):
    """Expects every batch to take a tenth of a second."""

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        return msgspec.structs.replace(
            super().decide(pending, now, final=final, others_idle=others_idle), predicted=0.1
        )


async def test_where_a_policy_predicts_the_log_has_both_times_and_how_often_a_batch_was_split(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"poison 2")
    with caplog.at_level(logging.DEBUG, "rpcb_trio"):
        async with working(
            Shouting(),
            broker,
            batching=Prophetic(2, 1.0),
            service_time=lambda _: 0.25,
            instruments=[LogInstrument()],
        ) as running:
            await running.until_settled(2)
    assert "computed in 750.0 ms (predicted 100.0 ms), in 3 runs" in caplog.text


async def test_a_worker_tells_once_what_it_was_started_with(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=FOURS, executors=2, max_pending=7) as running:
        broker.disconnect()
        await trio.sleep(60)
    assert len(running.lost_sessions) == 1
    assert running.setups == [
        Setup(queue=QUEUE, policy="FixedPolicy", max_batch_size=4, max_pending=7, prefetch=16, executors=2)
    ]


async def test_who_will_not_be_computed_is_told_at_once_and_who_is_computed_never(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, b"sick 1", b"\xff 2")
    ask(broker, b"brief 3", expiration=0.5)
    async with working(Shouting(), broker, batching=FixedPolicy(1), service_time=lambda _: 1.0) as running:
        await running.until_settled(3)
    told = [(request.correlation_id, error.code) for request, error in running.refusals]
    assert told == [("2", "decode"), ("3", "expired")]


async def test_a_reply_that_reached_nobody_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", reply_to="gone")
    with caplog.at_level(logging.INFO, "rpcb_trio"):
        async with working(Shouting(), broker, instruments=[LogInstrument()]) as running:
            await running.until_settled(1)
    told = "request '1' of 'gone': the reply queue is gone, so the reply was dropped (unroutable)"
    assert told in caplog.text
