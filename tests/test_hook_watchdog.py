"""A hook that never returns costs its own request an error, and in the end the worker, never the others."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Container
from functools import partial
from typing import Any, TypeVar

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from rpcb_trio import (
    FixedPolicy,
    HealthInstrument,
    LogInstrument,
    MemoryBroker,
    Outcome,
    SettingError,
    Success,
    ThreadExecutor,
    serve,
)
from rpcb_trio._pipeline._hooks import MOST_STUCK, Hooks, in_thread
from rpcb_trio._service import bind
from rpcb_trio._transports._memory._sessions import MemorySession
from rpcb_trio.errors import HooksHung, WarmUpFailed
from rpcb_trio.testing import VirtualExecutor, in_place
from tests.scenarios import QUEUE, Shouting, answers, ask, working

T = TypeVar("T")


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


class Stuck:
    """An offload whose calls with these numbers never come back."""

    def __init__(self, numbers: Container[int]) -> None:
        self._numbers = numbers
        self._called = 0

    async def __call__(self, function: Callable[[], T]) -> T:
        self._called += 1
        if self._called in self._numbers:
            await trio.sleep_forever()
        return await in_place(function)


async def test_a_decode_that_never_returns_costs_its_request_an_error_and_the_others_are_answered(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2", b"good 3")
    async with working(
        Shouting(), broker, offload=Stuck({2}), hook_timeout=5.0, instruments=[LogInstrument("asr")]
    ) as running:
        await running.until_settled(3)
    assert answers(broker) == {"1": b"ok:GOOD 1", "2": b"failed:hook-timeout", "3": b"ok:GOOD 3"}
    assert "decode or cost took longer than 5 s (hook_timeout)" in caplog.text
    assert trio.current_time() < 60


async def test_where_encode_never_returns_only_that_reply_is_an_error() -> None:
    released = threading.Event()

    class Waiting(Shouting):
        def encode(self, outcome: Outcome[str]) -> bytes:
            if isinstance(outcome, Success) and outcome.value.endswith("2"):
                released.wait()
            return super().encode(outcome)

    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2", b"good 3")
    try:
        async with working(
            Waiting(),
            broker,
            offload=in_thread,
            hook_timeout=0.5,
            batching=FixedPolicy(3, max_wait=60),
        ) as running:
            await running.until_settled(3)
    finally:
        released.set()
    told = b"hook-timeout: encode took longer than 0.5 s (hook_timeout)"
    assert answers(broker) == {"1": b"ok:GOOD 1", "2": told, "3": b"ok:GOOD 3"}


async def test_when_too_many_threads_hang_the_worker_is_not_ready_ends_and_what_is_left_goes_back(
    autojump_clock: MockClock,
) -> None:
    broker, health = MemoryBroker(), HealthInstrument("asr")
    ask(broker, *[f"good {number}".encode() for number in range(MOST_STUCK + 3)])
    with pytest.raises(HooksHung, match=f"^{MOST_STUCK + 1} threads have not returned"):
        async with working(
            Shouting(), broker, offload=Stuck(range(100)), hook_timeout=5.0, instruments=[health]
        ):
            await trio.sleep_forever()
    assert not health.health.ready
    left = broker.depth(QUEUE)
    assert left > 0
    assert len(answers(broker)) + left == MOST_STUCK + 3


async def test_a_worker_that_is_stopped_gives_back_nothing_over_which_a_hook_runs(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []
    monkeypatch.setattr(
        MemorySession, "requeue", lambda _, requests: given.extend(each.body for each in requests)
    )
    broker = MemoryBroker()
    ask(broker, b"good 1")
    with trio.move_on_after(5.0):
        async with working(Shouting(), broker, offload=Stuck({2})):  # it is decoded, and encoded without end
            await trio.sleep_forever()
    assert not given


async def test_hooks_that_hang_are_counted_though_a_lost_session_cuts_each_before_its_time(
    mock_clock: MockClock,
) -> None:
    hooks, released = Hooks(in_thread, most=1, timeout=5.0), threading.Event()
    ended: list[HooksHung] = []

    def hang(begun: trio.Event) -> None:
        trio.from_thread.run_sync(begun.set)
        released.wait()

    async def await_the_end() -> None:
        ended.append(await hooks.overrun())

    try:
        async with trio.open_nursery() as watching:
            watching.start_soon(await_the_end)
            for _ in range(MOST_STUCK + 6):
                begun = trio.Event()
                async with trio.open_nursery() as session:
                    session.start_soon(hooks.run, partial(hang, begun), "decode")
                    await begun.wait()
                    session.cancel_scope.cancel()
                mock_clock.jump(1.0)
            await wait_all_tasks_blocked()
            watching.cancel_scope.cancel()
    finally:
        released.set()
    assert [str(each).partition(" have")[0] for each in ended] == [f"{MOST_STUCK + 1} threads"]


async def test_what_was_abandoned_takes_nobodys_place_and_others_run_one_at_a_time() -> None:
    hooks, released = Hooks(in_thread, most=1, timeout=math.inf), threading.Event()
    for _ in range(3):
        with trio.move_on_after(0.05):
            await hooks.run(released.wait, "decode")
    assert await hooks.run(lambda: "another ran meanwhile", "decode") == "another ran meanwhile"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hooks.run, released.wait, "decode")
        await wait_all_tasks_blocked(0.05)
        with trio.move_on_after(0.05) as waiting:
            await hooks.run(lambda: "not yet", "decode")
        released.set()
    assert waiting.cancelled_caught


async def test_the_wait_for_a_place_is_not_counted(autojump_clock: MockClock) -> None:
    async def takes_four_seconds(function: Callable[[], T]) -> T:
        await trio.sleep(4)
        return function()

    hooks = Hooks(takes_four_seconds, most=1, timeout=5.0)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(hooks.run, lambda: None, "decode")


async def test_a_warm_up_that_never_returns_ends_the_start_with_the_setting(
    autojump_clock: MockClock,
) -> None:
    class Cold(VirtualExecutor):
        async def warm_up(self) -> None:
            await trio.sleep_forever()

    with pytest.raises(WarmUpFailed, match=r"took longer than 20 s \(warm_up_timeout\)"):
        await serve(shout, MemoryBroker(), QUEUE, executors=[Cold(shout)], warm_up_timeout=20)


class Broken(Shouting):
    def warm_up(self) -> None:
        raise ValueError("no such file: model.pt")

    def on_device(self, device: str) -> Any:
        raise KeyError(device)


async def test_a_warm_up_that_fails_is_told_in_one_line_with_the_hook_the_error_and_the_place() -> None:
    told = r"^Broken: warm_up failed: ValueError: no such file: model.pt \(test_.*.py:\d+ in warm_up\)$"
    with pytest.raises(WarmUpFailed, match=told):
        await serve(Broken(), MemoryBroker(), QUEUE)


async def test_so_is_a_placing_that_fails() -> None:
    with pytest.raises(
        WarmUpFailed, match=r"^Broken: on_device failed: KeyError: 'cpu' \(.* in on_device\)$"
    ):
        await ThreadExecutor(bind(Broken()), device="cpu").warm_up()


@pytest.mark.parametrize("setting", ["hook_timeout", "warm_up_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, math.nan])
async def test_a_time_that_is_none_is_refused(setting: str, seconds: float) -> None:
    with pytest.raises(SettingError, match=f"^{setting} is"):
        await serve(shout, MemoryBroker(), QUEUE, **{setting: seconds})  # type: ignore[arg-type] # of the parameters
