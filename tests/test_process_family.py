"""An executor's process, what it forks, what it does to itself, and what stands between it and the worker."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

from rpcb_trio import Success
from rpcb_trio._executors import _handle
from rpcb_trio._executors._ipc import send
from rpcb_trio.errors import ExecutorHung, ExecutorLost, InferError, KilledWorker
from tests import crashing
from tests.test_process_executor import PATIENCE, Telling, running


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which helpers are noted."""
    file = tmp_path / "helpers"
    monkeypatch.setenv("RPCB_TEST_HELPERS", str(file))
    return file


def noted(helpers: Path) -> list[int]:
    return [int(each) for each in helpers.read_text().split()]


def gone(*pids: int) -> bool:
    """Whether these processes end, soon."""
    left = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            left.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(left, PATIENCE)
    return not alive


@pytest.mark.parametrize("death", [b"helped death", b"shell and die"])
async def test_a_death_is_seen_though_a_helper_lives_on_and_the_helper_ends_with_it(
    death: bytes, helpers: Path
) -> None:
    async with running(max_deaths=1) as executor:
        first, culprit, last = await executor.infer([b"first", death, b"last"])
    assert (first, last) == (b"FIRST", b"LAST")
    assert str(culprit) == "it killed the executor's process 1 times (exit code 3)"
    assert gone(*noted(helpers))


async def test_a_death_is_seen_where_the_system_does_not_tell_of_it(
    helpers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    async with running(max_deaths=1) as executor:
        first, culprit = await executor.infer([b"first", b"helped death"])
    assert (first, str(culprit)) == (b"FIRST", "it killed the executor's process 1 times (exit code 3)")


async def test_what_it_has_forked_ends_with_it_when_the_executor_is_closed() -> None:
    async with running() as executor:
        [pid, helper, thread] = await executor.infer([b"pid", b"fork", b"thread"])
        assert thread is None
    assert gone(pid, helper)


WORKER = """
import os, sys, trio
from tests.test_process_executor import Telling
from tests import crashing

async def main():
    executor = Telling(crashing.make)
    await executor.warm_up()
    print(*await executor.infer([b"pid", b"fork"]), flush=True)
    await executor.infer([b"hang"])

trio.run(main)
"""


def test_what_it_has_forked_ends_with_the_worker_however_that_ends() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", ".", *sys.path])}
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout is not None
        family = [int(each) for each in worker.stdout.readline().split()]
        worker.kill()
    assert gone(*family)


async def test_a_model_that_waits_for_its_children_finds_none_of_ours() -> None:
    async with running() as executor:
        [pid] = await executor.infer([b"pid"])
        assert psutil.Process(pid).children(recursive=True) == []


@pytest.mark.parametrize("kind", [b"OSError", b"EOFError", b"KeyboardInterrupt"])
async def test_results_that_cannot_be_unpickled_fail_their_batch_and_the_process_lives(kind: bytes) -> None:
    async with running() as executor:
        [pid] = await executor.infer([b"pid"])
        with pytest.raises(InferError, match=f"between two processes: {kind.decode()}: {kind.decode()}$"):
            await executor.infer([kind, b"good"])
        assert await executor.infer([b"pid"]) == [pid]


@pytest.mark.parametrize("kind", ["OSError", "EOFError", "KeyboardInterrupt"])
async def test_items_that_cannot_be_unpickled_there_fail_their_batch_and_the_process_lives(kind: str) -> None:
    async with running() as executor:
        [pid] = await executor.infer([b"pid"])
        with pytest.raises(InferError, match=f"the items can't be taken there: {kind}: {kind}$"):
            await executor.infer([crashing.Untakable(kind), b"good"])
        assert await executor.infer([b"pid"]) == [pid]


async def test_items_that_cannot_be_pickled_fail_their_batch() -> None:
    class Stubborn:
        def __reduce__(self) -> str:
            raise ConnectionResetError("not of the socket")

    async with running() as executor:
        with pytest.raises(
            InferError, match="between two processes: ConnectionResetError: not of the socket"
        ):
            await executor.infer([Stubborn()])
        assert await executor.infer([b"good"]) == [b"GOOD"]


async def test_results_that_take_for_ever_to_be_unpickled_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rpcb_trio._executors._process.GRACE", 0.1)
    woken = threading.Event()
    monkeypatch.setattr(crashing, "wait", woken.wait)
    async with running(infer_timeout=0.5) as executor:
        with pytest.raises(ExecutorHung):
            await executor.infer([b"untakable hang"])
        woken.set()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Use up all descriptors of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 20, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(taken[0]))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_while_the_worker_has_no_descriptor_left_batches_fail_and_then_all_is_well_again() -> None:
    async with running() as executor:
        [pid] = await executor.infer([b"pid"])
        await trio.to_thread.run_sync(lambda: None)  # the thread is there
        with (
            no_descriptor_left(),
            pytest.raises(InferError, match=r"processes: OSError: .*Too many open files"),
        ):
            await executor.infer([b"good"])
        assert await executor.infer([b"pid"]) == [pid]


async def test_a_process_for_which_no_descriptor_is_left_is_told_in_one_line() -> None:
    executor = Telling(crashing.make)
    with (
        no_descriptor_left(),
        pytest.raises(ExecutorLost, match=r"while it warmed up: .*Too many open files"),
    ):
        await executor.warm_up()


async def test_an_answer_for_which_the_worker_has_no_descriptor_is_lost_alone() -> None:
    process = _handle.Process(_handle.pickled(crashing.make), None)
    try:
        process.prepare()

        def send_and_take_all(to: socket.socket, message: object) -> None:
            send(to, message)
            holding.enter_context(no_descriptor_left())

        with pytest.MonkeyPatch.context() as patch, ExitStack() as holding:
            patch.setattr(_handle, "send", send_and_take_all)
            with pytest.raises(InferError, match="between two processes: Too many open files"):
                process.infer([b"good"])
        assert process.infer([b"good"]) == [Success(b"GOOD")]
    finally:
        process.end()


async def test_a_process_that_has_no_descriptor_left_fails_its_batch_and_is_started_again() -> None:
    async with running() as executor:
        [pid] = await executor.infer([b"pid"])
        with pytest.raises(InferError, match="between two processes: Too many open files"):
            await executor.infer([b"leak"])
        [other] = await executor.infer([b"pid"])
        assert other != pid


@pytest.mark.parametrize("exit_", ["interrupt", "generator exit", "leave"])
async def test_an_exit_in_infer_fails_its_batch_as_in_a_thread(exit_: str) -> None:
    kind = {"interrupt": "KeyboardInterrupt", "generator exit": "GeneratorExit", "leave": "SystemExit"}[exit_]
    async with running() as executor:
        [pid] = await executor.infer([b"pid"])
        with pytest.raises(InferError, match=f"^infer failed: {kind}"):
            await executor.infer([exit_.encode()])
        assert await executor.infer([b"pid"]) == [pid]


async def test_an_error_that_cannot_be_shown_fails_its_batch() -> None:
    async with running() as executor:
        with pytest.raises(InferError, match=r"^infer failed: Unshowable$") as caught:
            await executor.infer([b"unshowable"])
        assert caught.value.cause.startswith("Unshowable: (its text can't be shown")
        assert await executor.infer([b"good"]) == [b"GOOD"]


@pytest.mark.parametrize("order", [b"close all", b"close but streams", b"garbage"])
async def test_a_process_that_spoils_its_way_to_the_worker_is_taken_for_dead(
    order: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_handle, "END_SECONDS", 0.5)
    async with running(max_deaths=1) as executor:
        first, culprit, last = await executor.infer([b"first", order, b"last"])
        assert (first, last) == (b"FIRST", b"LAST")
        assert isinstance(culprit, KilledWorker)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("order", [b"close streams", b"print", b"signals", b"modules", b"twice"])
async def test_whatever_else_infer_does_to_its_process_the_next_batch_is_computed(order: bytes) -> None:
    async with running() as executor:
        await executor.infer([order, b"good"])
        for _ in range(3):
            assert await executor.infer([b"next", b"one"]) == [b"NEXT", b"ONE"]
