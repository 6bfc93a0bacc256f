"""A model that hangs in a thread ends its worker: what is computed is answered, the rest is redelivered."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, LogInstrument, MemoryBroker, SettingError, Success, ThreadExecutor, serve
from rpcb_trio._pipeline._computing import SETTLE_GRACE
from rpcb_trio._service import bind
from rpcb_trio.errors import ExecutorHung
from rpcb_trio.testing import VirtualExecutor
from tests.scenarios import QUEUE, Running, UnsteadyTransport, answers, ask, working

TIMEOUT = 2.0


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


class Watched(VirtualExecutor):
    """Hangs on a batch with an item that says so; a watchdog gives up, as a thread's does."""

    def __init__(self, service_time: float = 1.0) -> None:
        super().__init__(shout, lambda _: service_time)
        self._due = math.inf

    async def idle(self) -> None:
        await trio.sleep_until(self._due) if self._due < math.inf else await super().idle()
        if self._due < math.inf:
            raise ExecutorHung(TIMEOUT)

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        if not any(b"hang" in item for item in items):
            return await super().infer(items)
        self._due = trio.current_time() + TIMEOUT
        await trio.sleep_until(self._due)
        raise ExecutorHung(TIMEOUT)


async def run_until_hung(broker: MemoryBroker, executors: Sequence[Watched]) -> Running:
    with pytest.raises(ExecutorHung) as caught:
        async with working(shout, broker, executors=executors, batching=FixedPolicy(1)) as running:
            await trio.sleep_forever()
    assert "infer_timeout (2 s)" in str(caught.value)
    return running


async def test_what_has_not_started_goes_back_to_the_broker(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good hang 2", b"good 3", b"good 4")
    running = await run_until_hung(broker, [Watched()])
    assert answers(broker) == {"1": b"GOOD 1"}
    assert broker.depth(QUEUE) == 3
    [(_, batch)] = running.hangs
    assert batch is not None
    assert [member.request.correlation_id for member in batch.members] == ["2"]


async def test_what_others_compute_is_answered_within_a_grace(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good hang 1", b"good 2", b"good 3")
    await run_until_hung(broker, [Watched(TIMEOUT + SETTLE_GRACE - 1) for _ in range(2)])
    assert answers(broker) == {"2": b"GOOD 2"}
    assert broker.depth(QUEUE) == 2
    assert trio.current_time() == TIMEOUT + SETTLE_GRACE - 1


async def test_the_grace_is_short(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good hang 1", b"good 2")
    await run_until_hung(broker, [Watched(1000) for _ in range(2)])
    assert broker.depth(QUEUE) == 2
    assert trio.current_time() == TIMEOUT + SETTLE_GRACE


async def test_a_session_lost_meanwhile_hides_no_hang(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good hang 1")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def cut() -> None:
            await trio.sleep(TIMEOUT / 2)
            broker.disconnect()

        running = await run_until_hung(broker, [Watched()])
    assert running.lost_sessions
    [(_, batch)] = running.hangs
    assert batch is None, "of an earlier session"
    assert broker.depth(QUEUE) == 1


async def test_a_session_lost_in_the_grace_is_not_opened_again(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good hang 1", b"good 2")
    transport = UnsteadyTransport(broker, refused=[])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def cut() -> None:
            await trio.sleep(TIMEOUT + 1)
            broker.disconnect()

        await run_until_hung(transport, [Watched(1000) for _ in range(2)])  # type: ignore[arg-type] # it counts attempts at its broker
    assert len(transport.attempts) == 1
    assert broker.depth(QUEUE) == 2


async def test_a_worker_that_drains_does_not_wait_for_a_hung_model(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good hang 1")
    with pytest.raises(ExecutorHung):
        async with working(shout, broker, executors=[Watched()], drain_timeout=100):
            await trio.sleep(1)
    assert trio.current_time() == TIMEOUT


async def test_one_line_names_the_batch_and_its_first_requests(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, *(b"good hang %d" % n for n in range(12)))
    with caplog.at_level(logging.ERROR), pytest.raises(ExecutorHung):
        async with working(
            shout,
            broker,
            executors=[Watched()],
            batching=FixedPolicy(12, max_wait=1),
            instruments=[LogInstrument("asr")],
        ):
            await trio.sleep_forever()
    [line] = caplog.messages
    assert line.startswith("asr: an executor hangs on batch ")
    assert "of 12 request(s), with the correlation ids '0', '1', " in line
    assert "'9' and 2 more: infer has not returned within infer_timeout (2 s)" in line


@contextmanager
def stuck() -> Iterator[tuple[threading.Event, threading.Event]]:
    """An event that a model waits for and one that says it does; no thread is left behind."""
    entered, opened = threading.Event(), threading.Event()
    try:
        yield entered, opened
    finally:
        opened.set()


async def test_a_thread_that_hangs_is_abandoned_and_serve_raises() -> None:
    broker = MemoryBroker()
    with stuck() as (_, opened):

        def infer(bodies: list[bytes]) -> list[bytes]:
            if b"hang 2" in bodies:
                opened.wait()
            return bodies

        ask(broker, b"good 1", b"hang 2", b"good 3")
        with pytest.raises(ExecutorHung), trio.fail_after(20):
            await serve(infer, broker, QUEUE, batching=FixedPolicy(1), infer_timeout=1.0, instruments=[])
    assert answers(broker) == {"1": b"good 1"}
    assert broker.depth(QUEUE) == 2


async def test_a_thread_that_a_cancelled_infer_left_behind_is_watched_as_well() -> None:
    with stuck() as (entered, opened):

        def infer(items: list[bytes]) -> list[bytes]:
            entered.set()
            opened.wait()
            return items

        executor = ThreadExecutor(bind(infer), infer_timeout=0.2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.infer, [b"dropped"])
            await trio.to_thread.run_sync(entered.wait)
            nursery.cancel_scope.cancel()
        with pytest.raises(ExecutorHung):
            await executor.idle()


async def test_a_thread_that_comes_back_in_time_is_as_good_as_new() -> None:
    executor = ThreadExecutor(bind(lambda items: items), infer_timeout=20)
    for _ in range(3):
        assert await executor.infer([b"a"]) == [Success(b"a")]
        await executor.idle()


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
async def test_a_time_out_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(SettingError, match=r"^infer_timeout is"):
        await serve(shout, MemoryBroker(), QUEUE, infer_timeout=seconds)


async def test_executors_of_ones_own_have_time_outs_of_their_own() -> None:
    with pytest.raises(SettingError, match=r"^infer_timeout is for the executors that serve makes"):
        await serve(shout, MemoryBroker(), QUEUE, executors=[Watched()], infer_timeout=1)
