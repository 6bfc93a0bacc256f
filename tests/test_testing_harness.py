"""What the package gives its users to test their own services with."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from rpcb_trio import FixedPolicy, SettingError, Success
from rpcb_trio.batching import Trigger
from rpcb_trio.instruments import Settled
from rpcb_trio.testing import Served, VirtualExecutor, in_place, push_batch, served
from tests.scenarios import Shouting


async def call_at_once(worker: Served, count: int) -> list[bytes]:
    replies: dict[int, bytes] = {}

    async def call(number: int) -> None:
        replies[number] = (await worker.call(b"good %d" % number)).body

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(call, number)
    return [replies[number] for number in range(count)]


async def test_ten_callers_share_one_batch(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    async with served(
        Shouting(), service_time=lambda b: 0.150 + 0.025 * b, batching=FixedPolicy(32, max_wait=0.005)
    ) as worker:
        replies = await call_at_once(worker, 10)
        assert trio.current_time() - started == pytest.approx(0.005 + 0.150 + 0.250)
    assert replies == [b"ok:GOOD %d" % number for number in range(10)]
    assert [batch.size for batch in worker.recorder.batches] == [10]
    assert worker.recorder.service_times == [pytest.approx(0.4)]


async def test_while_a_batch_is_computed_the_next_one_fills_up(autojump_clock: MockClock) -> None:
    async with served(Shouting(), service_time=lambda _: 1.0) as worker, trio.open_nursery() as nursery:
        nursery.start_soon(worker.call, b"good 0")
        await trio.sleep(0.5)
        nursery.start_soon(call_at_once, worker, 10)
    assert [batch.size for batch in worker.recorder.batches] == [1, 10]


async def test_without_a_service_time_no_time_passes(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    async with served(Shouting()) as worker:
        await call_at_once(worker, 10)
    assert trio.current_time() == started


async def test_leaving_the_harness_drains_the_worker(autojump_clock: MockClock) -> None:
    async with served(
        Shouting(), batching=FixedPolicy(32, max_wait=60.0), service_time=lambda _: 1.0
    ) as worker:
        with trio.move_on_after(10):
            await worker.call(b"good 1")
        assert worker.worker.held == 1
    assert worker.worker.held == 0
    assert [ending for _, ending in worker.recorder.settled] == [Settled.UNROUTABLE], "its caller has left"


async def test_an_error_in_the_test_itself_leaves_the_harness_unwrapped(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with served(Shouting()):
            raise ZeroDivisionError


async def test_a_wrong_setting_leaves_the_harness_unwrapped(autojump_clock: MockClock) -> None:
    with pytest.raises(SettingError, match="prefetch"):
        async with served(Shouting(), prefetch=1):
            pass


async def test_a_lost_connection_can_be_played(autojump_clock: MockClock) -> None:
    async with served(Shouting()) as worker:
        worker.broker.disconnect()
        await trio.sleep(60)
        assert (await worker.call(b"good 1")).body == b"ok:GOOD 1"
    assert len(worker.recorder.lost_sessions) == 1


async def test_push_batch_needs_no_broker_and_keeps_the_order(autojump_clock: MockClock) -> None:
    bodies = [b"good 1", b"\xff 2", b"sick 3", b"good 4"]
    replies = await push_batch(Shouting(), bodies)
    assert [reply.body for reply in replies] == [
        b"ok:GOOD 1",
        b"failed:decode",
        b"failed:infer",
        b"ok:GOOD 4",
    ]
    assert [reply.error for reply in replies] == [None, "decode", "infer", None]


async def test_push_batch_takes_no_bodies_at_all(autojump_clock: MockClock) -> None:
    assert await push_batch(Shouting(), []) == []


async def test_a_virtual_executor_takes_the_time_it_is_told(autojump_clock: MockClock) -> None:
    executor = VirtualExecutor(lambda items: items[::-1], lambda b: 10.0 * b)
    started = trio.current_time()
    await executor.warm_up()
    await executor.idle()
    assert trio.current_time() == started
    assert await executor.infer((1, 2, 3)) == [Success(3), Success(2), Success(1)]
    assert trio.current_time() - started == 30.0


async def test_in_place_runs_a_hook_at_a_checkpoint(autojump_clock: MockClock) -> None:
    with assert_checkpoints():
        assert await in_place(lambda: 7) == 7


async def test_the_recorder_remembers_every_event(autojump_clock: MockClock) -> None:
    async with served(Shouting(), batching=FixedPolicy(4, max_wait=1.0)) as worker:
        await worker.call(b"sick 1")
    recorder = worker.recorder
    assert [request.body for request in recorder.received] == [b"sick 1"]
    assert [error.code for _, error in recorder.failures] == ["infer"]
    assert [batch.trigger for batch in recorder.batches] == [Trigger.WAIT]
    assert [ending for _, ending in recorder.settled] == [Settled.REPLIED]
    assert recorder.drain_steps == ["stop consuming", "finish 0 request(s)", "drained"]
