"""Between sessions: a drain does not wait for the broker, and the log tells an outage without a flood."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import Instrument, LogInstrument, MemoryBroker, SettingError, Topology
from rpcb_trio._transports import CallerSession, Session
from rpcb_trio.errors import BrokerError, RpcbError, SessionLost, TopologyMismatch
from rpcb_trio.instruments import Setup
from tests.scenarios import Shouting, UnsteadyTransport, answers, ask, working

BODIES = [b"good %d" % n for n in range(6)]


class MovingTransport:
    """Reaches its broker at the first attempt; each one after it fails with the next of `errors`, if any."""

    def __init__(self, broker: MemoryBroker, errors: Iterable[Exception] = ()) -> None:
        self._broker = broker
        self._errors = iter(errors)
        self._is_first = True
        self.is_black_hole = False

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        await trio.lowlevel.checkpoint()
        if not self._is_first:
            if self.is_black_hole:
                await trio.sleep_forever()
            error = next(self._errors, None)
            if error is not None:
                raise error
        self._is_first = False
        async with self._broker.open_session(topology, prefetch=prefetch) as session:
            yield session

    def open_caller(self) -> AbstractAsyncContextManager[CallerSession]:
        return self._broker.open_caller()


async def test_draining_ends_an_attempt_that_gets_no_answer_at_once_and_in_order(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    transport = MovingTransport(broker)
    transport.is_black_hole = True
    async with working(Shouting(), transport) as running:
        broker.disconnect()
        await trio.sleep(300)
        started = trio.current_time()
    assert trio.current_time() == started
    assert running.drain_steps == ["stop connecting", "drained"]
    assert running.left == 0


class Eventful(Instrument):
    """Writes down what happens to the worker, by name."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def worker_starting(self, setup: Setup) -> None:
        self.events.append(f"starting {setup.queue}")

    def worker_started(self, setup: Setup) -> None:
        self.events.append(f"started {setup.queue}")

    def session_opened(self, queue: str) -> None:
        self.events.append(f"opened {queue}")

    def session_lost(self, error: BrokerError, retry_in: float) -> None:  # noqa: ARG002 - chance
        self.events.append("lost")

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:  # noqa: ARG002 - likewise
        self.events.append(f"failed {attempts}")

    def drain_step(self, step: str) -> None:
        self.events.append(step)

    def worker_stopped(self, left: int) -> None:
        self.events.append(f"stopped {left}")


async def test_each_change_of_a_workers_state_is_an_event_from_the_warm_up_to_the_end(
    autojump_clock: MockClock,
) -> None:
    broker, seen = MemoryBroker(), Eventful()
    transport = UnsteadyTransport(broker, refused=[1, 2, 4])
    async with working(Shouting(), transport, instruments=[seen]):
        for _ in range(2):
            broker.disconnect()
            await trio.sleep(60)
    assert seen.events == [
        *("starting work", "started work", "opened work"),
        *("lost", "failed 1", "failed 2", "opened work"),
        *("lost", "failed 1", "opened work"),
        *("stop consuming", "finish 0 request(s)", "drained", "stopped 0"),
    ]


async def outage(
    broker: MemoryBroker, transport: MovingTransport | UnsteadyTransport, seconds: float
) -> None:
    """Lose the session of a worker that writes the log, and wait."""
    async with working(Shouting(), transport, instruments=[LogInstrument("asr")]):
        broker.disconnect()
        await trio.sleep(seconds)


def lines(caplog: pytest.LogCaptureFixture, part: str, level: int = logging.WARNING) -> list[str]:
    return [each.message for each in caplog.records if part in each.message and each.levelno >= level]


async def test_an_outage_of_hours_is_a_handful_of_lines_and_one_that_it_is_over(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rpcb_trio")
    broker = MemoryBroker()
    await outage(broker, UnsteadyTransport(broker, refused=range(1, 500)), 4 * 3600)
    assert len(lines(caplog, "asr: session lost (")) == 1
    told = lines(caplog, "asr: can't reach the broker (connection refused), attempt ")
    assert [int(line.split("attempt ")[1].split(";")[0]) for line in told] == [2**n for n in range(9)]
    assert len(lines(caplog, "can't reach the broker", logging.DEBUG)) == 499
    [over] = lines(caplog, "consuming from queue work", logging.INFO)[1:]
    assert over.startswith("asr: reconnected after 500 attempt(s) (")


async def test_a_new_reason_why_the_broker_is_away_is_a_line_at_once_but_not_endlessly(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    known = [SessionLost("port closed"), SessionLost("name unknown"), TopologyMismatch("no queue")]
    errors = [known[n % 3] for n in range(99)] + [SessionLost(f"port {n} closed") for n in range(400)]
    await outage(broker, MovingTransport(broker, errors), 4 * 3600)
    told = lines(caplog, "can't reach the broker (")
    assert [line.split("(")[1].split(")")[0] for line in told[:4]] == [
        *("port closed", "name unknown", "no queue"),
        "port closed",  # the 4th of them all
    ]
    assert len(told) < 30


async def test_a_setting_that_can_not_be_right_ends_a_worker_that_reconnects_too(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    transport = MovingTransport(broker, [SettingError("no queue can be named so")])

    async def serve_for_ever() -> None:
        async with working(Shouting(), transport):
            broker.disconnect()
            await trio.sleep_forever()

    with pytest.raises(SettingError, match="no queue can be named so"):
        await serve_for_ever()


class EndingTransport(UnsteadyTransport):
    """Its first session's deliveries end after a while, though nobody has asked for it."""

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        opening = super().open_session(topology, prefetch=prefetch)
        async with opening as session, trio.open_nursery() as nursery:
            if len(self.attempts) == 1:
                nursery.start_soon(self._end, session)
            yield session
            nursery.cancel_scope.cancel()

    async def _end(self, session: Session) -> None:
        await trio.sleep(10)
        await session.stop_consuming()


async def test_deliveries_that_end_by_themselves_are_a_lost_session_and_no_silent_end(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), EndingTransport(broker, refused=[])) as running:
        await trio.sleep(60)
        ask(broker, *BODIES)
        await running.until_settled(6)
    [lost] = running.lost_sessions
    assert "deliveries ended" in str(lost)
    assert len(answers(broker)) == 6
