"""The executor in a process of its own: real processes, which really die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import Failure, FixedPolicy, MemoryBroker, ProcessExecutor, SettingError, Success, serve
from rpcb_trio.errors import ExecutorLost, InferError, KilledWorker, OutcomeError, WarmUpFailed
from tests import crashing
from tests.scenarios import QUEUE, answers, ask

PATIENCE = 30.0


class Telling(ProcessExecutor):
    """Returns what the service returned, and errors in the places of their results."""

    async def infer(self, items: Sequence[Any]) -> list[Any]:
        return [told(outcome) for outcome in await super().infer(items)]


def told(outcome: Any) -> Any:
    match outcome:
        case Success(value=value):
            return value
        case Failure(error=error):
            return error
        case _:
            return outcome


@asynccontextmanager
async def running(make: Callable[[], Any] = crashing.make, **settings: Any) -> AsyncIterator[ProcessExecutor]:
    executor = Telling(make, **settings)
    try:
        with trio.fail_after(PATIENCE):
            await executor.warm_up()
            yield executor
    finally:
        executor.close()


async def test_what_it_computes_comes_back_in_order_and_large_arrays_and_bodies_unharmed() -> None:
    large = np.arange(300_000, dtype=np.float32).reshape(300, 1000)
    items = [b"a", large, large.T, b"x" * 200_000, {"nested": [large, b"y" * 100_000]}, 3]
    async with running() as executor:
        got = await executor.infer(items)
    np.testing.assert_array_equal(got[1], large)
    np.testing.assert_array_equal(got[2], large.T)
    np.testing.assert_array_equal(got[4]["nested"][0], large)
    assert [got[0], got[3], got[4]["nested"][1], got[5]] == [b"A", b"X" * 200_000, b"y" * 100_000, 3]
    got[1][0] = 1.0
    assert large[0, 1] == 1.0
    assert large[0, 2] == 2.0, "the memory is nobody else's"


async def test_errors_arrive_with_the_cause_and_the_place_and_the_services_own_where_it_can() -> None:
    async with running() as executor:
        with pytest.raises(OutcomeError) as caught:
            await executor.infer([b"picky"])
        assert isinstance(caught.value.own, crashing.Picky)
        assert caught.value.own.status == 418
        for item, cause in (
            (b"raise", "ZeroDivisionError: by zero"),
            (b"unpicklable", "Unpicklable: it holds a lock"),
            (b"leave", "SystemExit"),
        ):
            with pytest.raises(InferError) as failed:
                await executor.infer([item, b"good"])
            assert failed.value.cause.startswith(cause)
            assert "crashing.py" in (failed.value.where or "")
        with pytest.raises(InferError, match="the results can't be sent: TypeError"):
            await executor.infer([b"lock", b"good"])
        [pid, again] = await executor.infer([b"pid", b"pid"])
        assert pid == again != os.getpid()


async def test_who_kills_the_process_is_found_out_and_all_others_are_computed() -> None:
    deaths = {b"abort": "SIGABRT", b"segfault": "SIGSEGV", b"exit": "exit code 3", b"kill": "SIGKILL"}
    async with running(max_deaths=1) as executor:
        first, *culprits, last = await executor.infer([b"first", *deaths, b"last"])
    assert (first, last) == (b"FIRST", b"LAST")
    assert all(isinstance(each, KilledWorker) for each in culprits)
    assert [str(each) for each in culprits] == [
        f"it killed the executor's process 1 times ({how})" for how in deaths.values()
    ]


async def test_a_process_that_hangs_is_killed_and_warmed_up_anew(tmp_path: Path) -> None:
    file = tmp_path / "warm-ups"
    make = partial(crashing.Warmed, str(file))
    async with running(make, infer_timeout=1.5, max_deaths=1) as executor:
        culprit, other = await executor.infer([b"hang", b"other"])
        assert other == b"OTHER"
        assert str(culprit).endswith("1 times (killed, since infer took longer than 1.5 s)")
    assert file.read_text().count("warm") == 3, "at the start, after the batch, and after the culprit alone"


async def test_a_process_that_hangs_is_killed_though_no_time_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rpcb_trio._executors._process.INFER_TIMEOUT", 1.5)
    async with running(max_deaths=1) as executor:
        [culprit] = await executor.infer([b"hang"])
    assert str(culprit).endswith("1 times (killed, since infer took longer than 1.5 s)")


async def test_a_process_that_hangs_while_it_is_warmed_up_anew_is_killed_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcb_trio._executors._process.MOST_STARTS", 1)
    file = tmp_path / "stuck"
    async with running(partial(crashing.make, stuck=str(file)), warm_up_timeout=2.0) as executor:
        file.touch()
        with pytest.raises(
            ExecutorLost, match=r"killed, since warming up took longer than 2 s \(warm_up_tim"
        ):
            await executor.infer([b"kill"])


async def test_a_lone_item_is_tried_until_its_deaths_are_too_many(tmp_path: Path) -> None:
    file = tmp_path / "warm-ups"
    async with running(partial(crashing.Warmed, str(file)), max_deaths=2) as executor:
        [culprit] = await executor.infer([b"exit"])
        assert str(culprit) == "it killed the executor's process 2 times (exit code 3)"
    assert file.read_text().count("warm") == 2


async def test_a_cancelled_infer_returns_at_once_and_the_executor_is_idle_once_the_process_is() -> None:
    async with running(infer_timeout=1.5) as executor:
        [pid] = await executor.infer([b"pid"])
        with trio.move_on_after(0.05):
            await executor.infer([b"hang"])
        await executor.idle()
        assert not psutil.pid_exists(pid), "it took too long, so it was killed"
        assert await executor.infer([b"next"]) == [b"NEXT"]
        [again] = await executor.infer([b"pid"])
        with trio.move_on_after(0):
            await executor.infer([b"dropped"])
        await executor.idle()
        assert await executor.infer([b"pid"]) == [again]


async def test_a_process_that_died_meanwhile_is_nobodys_fault() -> None:
    async with running(max_deaths=1) as executor:
        [pid] = await executor.infer([b"pid"])
        os.kill(pid, signal.SIGKILL)
        await trio.to_thread.run_sync(executor._process._process.wait)  # type: ignore[union-attr] # it has been started
        assert await executor.infer([b"good"]) == [b"GOOD"]


async def test_signals_of_the_group_are_the_workers_to_obey() -> None:
    async with running() as executor:
        [pid] = await executor.infer([b"pid"])
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert await executor.infer([b"pid"]) == [pid]


WORKER = """
import os, sys, trio
from tests.test_process_executor import Telling
from tests import crashing

async def main():
    executor = Telling(crashing.make)
    await executor.warm_up()
    print(*await executor.infer([b"pid"]), flush=True)
    await executor.infer([b"hang"])

trio.run(main)
"""


def test_it_dies_with_its_worker_however_that_ends() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", ".", *sys.path])}
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout is not None
        process = psutil.Process(int(worker.stdout.readline()))
        worker.kill()
        gone, _ = psutil.wait_procs([process], PATIENCE)
    assert gone


async def test_a_process_that_cannot_be_started_again_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcb_trio._executors._process.MOST_STARTS", 2)
    file = tmp_path / "gone"
    async with running(partial(crashing.make, str(file))) as executor:
        file.touch()
        with pytest.raises(ExecutorLost, match=r"can't be started any more: exit code 7; what the worker"):
            await executor.infer([b"kill"])


async def test_a_service_that_kills_the_process_while_it_warms_up_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    with pytest.raises(ExecutorLost, match=r"died while it warmed up: exit code 7"):
        await ProcessExecutor(partial(crashing.make, str(tmp_path / "gone"))).warm_up()


async def test_a_warm_up_that_fails_there_is_one_line_with_the_hook_the_error_and_the_place() -> None:
    told = r"^Cold: warm_up failed: ValueError: classifier.pt is missing \(crashing.py:\d+ in warm_up\)$"
    with pytest.raises(WarmUpFailed, match=told):
        await ProcessExecutor(crashing.Cold).warm_up()


async def test_serve_ends_with_that_one_error_and_no_group_of_them(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    lost = ProcessExecutor(partial(crashing.make, str(tmp_path / "gone")))
    with pytest.RaisesExc(ExecutorLost, match=r"died while it warmed up: exit code 7"):
        await serve(crashing.infer, MemoryBroker(), QUEUE, executors=[lost], instruments=[])


def test_what_cannot_be_imported_there_is_refused_in_one_line() -> None:
    with pytest.raises(SettingError, match="can't be pickled"):
        ProcessExecutor(lambda: crashing.infer)


async def test_a_service_that_is_none_is_refused_in_one_line() -> None:
    with pytest.raises(SettingError, match=r"^dict is not a service"):
        await ProcessExecutor(dict).warm_up()


async def test_it_serves_as_any_executor_does() -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2")
    broker.publish(b"kill", routing_key=QUEUE, reply_to="answers", correlation_id="3")
    executor = ProcessExecutor(crashing.make, max_deaths=1)
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(
            partial(
                serve,
                crashing.infer,
                broker,
                QUEUE,
                batching=FixedPolicy(8),
                executors=[executor],
                instruments=[],
            )
        )
        worker.drain()
    executor.close()
    assert answers(broker) == {
        "1": b"GOOD 1",
        "2": b"GOOD 2",
        "3": b"killed-worker: it killed the executor's process 1 times (SIGKILL)",
    }
