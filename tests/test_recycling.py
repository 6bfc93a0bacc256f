"""A process executor's process is replaced by a fresh one, warm before the other ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import psutil  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import FixedPolicy, MemoryBroker, ProcessExecutor, SettingError, open_client, open_worker
from rpcb_trio._executors import _recycling
from rpcb_trio._executors._handle import ProcessDied
from rpcb_trio.errors import WarmUpFailed
from tests import crashing
from tests.scenarios import QUEUE
from tests.test_process_executor import PATIENCE, running


async def pid_of(executor: ProcessExecutor, order: bytes = b"pid") -> int:
    [pid] = await executor.infer([order])
    assert isinstance(pid, int)
    return pid


async def next_pid(executor: ProcessExecutor, former: int) -> int:
    while (pid := await pid_of(executor)) == former:  # noqa: ASYNC110 - another process is waited for
        await trio.sleep(0.01)
    return pid


async def gone(pid: int) -> None:
    while psutil.pid_exists(pid):  # noqa: ASYNC110 - likewise
        await trio.sleep(0.01)


async def test_after_so_many_batches_a_fresh_process_takes_over_and_the_former_computes_until_then(
    tmp_path: Path,
) -> None:
    slow = tmp_path / "slow"
    async with running(partial(crashing.Growing, str(slow)), max_batches=3) as executor:
        first = await pid_of(executor)
        assert [await pid_of(executor) for _ in range(2)] == [first] * 2
        slow.touch()
        assert [await pid_of(executor) for _ in range(20)] == [first] * 20, "the fresh one is not warm yet"
        slow.unlink()
        assert await next_pid(executor, first) in {child.pid for child in psutil.Process().children()}
        await gone(first)


async def test_a_process_that_has_grown_too_large_is_replaced_and_one_that_is_too_large_at_once_is_refused(
    tmp_path: Path,
) -> None:
    make = partial(crashing.Growing, str(tmp_path / "slow"))
    async with running(make, max_memory=4 * crashing.BALLAST) as executor:
        first = await pid_of(executor)
        assert [await pid_of(executor) for _ in range(5)] == [first] * 5
        for _ in range(4):
            await pid_of(executor, b"grow")
        await next_pid(executor, first)
    too_large = ProcessExecutor(crashing.make, max_memory=2**20)
    with pytest.raises(SettingError, match=r"^max_memory is 1048576 bytes, but .* has \d{8,} once its model"):
        await too_large.warm_up()
    too_large.close()


async def test_one_process_is_replaced_at_a_time_and_no_request_is_lost_by_that() -> None:
    broker, pids, most = MemoryBroker(), set[int](), 0
    of_others = set(psutil.Process().children())

    def children() -> set[psutil.Process]:
        return set(psutil.Process().children()) - of_others

    executors = [ProcessExecutor(partial(crashing.Growing, "nowhere"), max_batches=2) for _ in range(2)]

    async def ask() -> None:
        nonlocal most
        while len(pids) < 4:
            reply = await client.call(b"pid", queue=QUEUE, timeout=PATIENCE)
            pids.add(int(reply.raise_for_error().body))
            most = max(most, len(children()))

    settings: dict[str, Any] = {"batching": FixedPolicy(1), "executors": executors, "instruments": []}
    async with (
        open_worker(partial(crashing.Growing, "nowhere"), broker, QUEUE, **settings),
        open_client(broker) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(4):
            nursery.start_soon(ask)
    for executor in executors:
        await executor.aclose()
    assert most <= 3
    assert _recycling._turn.acquire(timeout=PATIENCE)  # the last that was replaced has ended
    _recycling._turn.release()
    assert not children()


class Played:
    """Stands for a process: it warms up as the `course` says, or at once, and computes its number."""

    course: ClassVar[list[Callable[[Played], None]]] = []
    started: ClassVar[list[Played]] = []
    pid = os.getpid()

    def __init__(self, *_: object) -> None:
        self.number = len(self.started)
        self.started.append(self)
        self.ended = threading.Event()

    @property
    def is_alive(self) -> bool:
        return not self.ended.is_set()

    def prepare(self) -> None:
        if self.number < len(self.course):
            self.course[self.number](self)

    def infer(self, items: list[bytes]) -> list[int]:
        if not self.is_alive:
            raise ProcessDied("SIGKILL")
        return [self.number for _ in items]

    def end(self) -> None:
        self.ended.set()

    def wait_for_ever(self) -> None:
        assert self.ended.wait(PATIENCE)
        raise ProcessDied("SIGKILL")


def at_once(_: Played) -> None:
    """Warm up at once."""


def fail(_: Played) -> None:
    raise WarmUpFailed("no weights")


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[Played], None]]]:
    monkeypatch.setattr("rpcb_trio._executors._process.Process", Played)
    monkeypatch.setattr(_recycling, "FIRST_RETRY", 0.0)
    monkeypatch.setattr(Played, "course", [])
    monkeypatch.setattr(Played, "started", [])
    yield Played.course
    assert all(each.ended.wait(PATIENCE) for each in Played.started)
    assert _recycling._turn.acquire(timeout=PATIENCE), "the next one may be replaced"
    _recycling._turn.release()


async def test_where_the_fresh_one_fails_the_present_one_goes_on_and_it_is_tried_again(
    course: list[Callable[[Played], None]], caplog: pytest.LogCaptureFixture
) -> None:
    course += [at_once, fail, fail, at_once]
    async with running(max_batches=1) as executor:
        assert await next_pid(executor, 0) == 3
    told = "a fresh process can't be warmed up, so the present one goes on (no weights); next attempt in 0 s"
    assert caplog.messages.count(f"executor: {told}") == 2


async def test_a_fresh_process_that_warms_up_too_long_is_given_up(
    course: list[Callable[[Played], None]],
) -> None:
    course += [at_once, Played.wait_for_ever, at_once]
    async with running(max_batches=1, warm_up_timeout=0.01) as executor:
        assert await next_pid(executor, 0) == 2


async def test_a_process_that_dies_while_the_fresh_one_warms_up_is_started_anew(
    course: list[Callable[[Played], None]],
) -> None:
    is_warm = threading.Event()

    def slowly(_: Played) -> None:
        assert is_warm.wait(PATIENCE)

    course += [at_once, slowly, at_once]
    async with running(max_batches=3) as executor:
        assert [await pid_of(executor) for _ in range(3)] == [0] * 3
        Played.started[0].end()
        assert await pid_of(executor) == 2
        is_warm.set()
        assert await next_pid(executor, 2) == 1


async def test_a_process_that_dies_once_the_fresh_one_is_warm_is_replaced_by_that(
    course: list[Callable[[Played], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_computing = threading.Event()

    def while_it_computes(_: Played) -> None:
        assert is_computing.wait(PATIENCE)

    def die(played: Played, items: list[bytes]) -> list[int]:
        if items == [b"die"] and played.number == 0:
            is_computing.set()
            while not executor._recycling._is_warm:
                time.sleep(0.001)
            played.end()
            raise ProcessDied("SIGKILL")
        return compute(played, items)

    compute = Played.infer
    monkeypatch.setattr(Played, "infer", die)
    course += [at_once, while_it_computes]
    async with running(max_batches=1) as executor:
        assert await pid_of(executor) == 0
        assert await pid_of(executor, b"die") == 1
        assert Played.started[1].is_alive


async def test_closing_an_executor_ends_the_fresh_process_too_though_it_warms_up(
    course: list[Callable[[Played], None]],
) -> None:
    course += [at_once, Played.wait_for_ever]
    async with running(max_batches=1) as executor:
        await pid_of(executor)
        await executor.aclose()
        assert len(Played.started) == 2


@pytest.mark.parametrize("limit", ["max_batches", "max_memory"])
def test_a_senseless_limit_is_refused_by_its_name(limit: str) -> None:
    with pytest.raises(SettingError, match=rf"^{limit} is 0; it must be at least 1"):
        ProcessExecutor(crashing.make, **{limit: 0})  # type: ignore[arg-type] # either is a number
