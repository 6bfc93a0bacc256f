"""A process executor's process is replaced by a fresh one, warm before the other ends: real processes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import FixedPolicy, MemoryBroker, ProcessExecutor, SettingError, open_client, open_worker
from rpcb_trio._executors import _recycling
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
        slow.write_text("slowly")
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


async def test_where_the_fresh_one_fails_the_present_one_goes_on_and_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_recycling, "FIRST_RETRY", 0.0)
    slow = tmp_path / "slow"
    async with running(partial(crashing.Growing, str(slow)), max_batches=1) as executor:
        slow.write_text("fail")
        first = await pid_of(executor)
        while "so the present one goes on (Growing: warm_up failed: ValueError: no w" not in caplog.text:
            assert await pid_of(executor) == first
            await trio.sleep(0.01)
        slow.unlink()
        await next_pid(executor, first)


async def test_a_fresh_process_that_warms_up_too_long_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow = tmp_path / "slow"
    make = partial(crashing.Growing, str(slow))
    async with running(make, max_batches=1, warm_up_timeout=0.1) as executor:
        slow.write_text("slowly")
        first = await pid_of(executor)
        while "a fresh process can't be warmed up" not in caplog.text:
            assert await pid_of(executor) == first
            await trio.sleep(0.01)


async def test_one_process_is_replaced_at_a_time_and_no_request_is_lost_by_that() -> None:
    broker, pids, most = MemoryBroker(), set[int](), 0
    executors = [ProcessExecutor(partial(crashing.Growing, "nowhere"), max_batches=2) for _ in range(2)]

    async def ask() -> None:
        nonlocal most
        while len(pids) < 4:
            reply = await client.call(b"pid", queue=QUEUE, timeout=PATIENCE)
            pids.add(int(reply.raise_for_error().body))
            most = max(most, len(psutil.Process().children()))

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
    assert not psutil.Process().children()
    assert _recycling._turn.acquire(timeout=PATIENCE)
    _recycling._turn.release()


async def test_a_process_that_dies_while_the_fresh_one_warms_up_is_started_anew(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    async with running(partial(crashing.Growing, str(slow)), max_batches=1) as executor:
        first = await pid_of(executor)
        psutil.Process(first).kill()
        await next_pid(executor, first)


@pytest.mark.parametrize("limit", ["max_batches", "max_memory"])
def test_a_senseless_limit_is_refused_by_its_name(limit: str) -> None:
    with pytest.raises(SettingError, match=rf"^{limit} is 0; it must be at least 1"):
        ProcessExecutor(crashing.make, **{limit: 0})  # type: ignore[arg-type] # either is a number
