"""A signal at any moment of the start ends a process of workers in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from rpcb_trio import MemoryBroker, Topology, Worker, serve
from rpcb_trio._commands import _signals
from rpcb_trio._commands._signals import OBEYED, SAME_SIGNAL, Signals
from rpcb_trio._commands.serve._setup import Job
from rpcb_trio._commands.serve._workers import RunningJobs


def echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


async def start(checkpoints: int, *, task_status: trio.TaskStatus[Worker]) -> None:
    """Serve from memory; a signal comes some checkpoints before the start is done."""
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(partial(serve, echo, MemoryBroker(), Topology(queue="q")))
        signal.raise_signal(signal.SIGTERM)
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        task_status.started(worker)


async def run_jobs(jobs: list[Job], signals: Signals) -> int:
    return await RunningJobs(jobs).run(signals, reload=lambda: None)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signals]:
    """Those of a process whose terminal hangs up, which is what SIGHUP tells then."""
    monkeypatch.setattr(_signals, "_is_there", lambda: True)
    taken = Signals()
    monkeypatch.setattr(_signals, "_is_there", lambda: False)
    taken.keep()
    yield taken
    taken.restore()


def job(name: str, checkpoints: int) -> Job:
    return Job(name=name, line=name, start=partial(start, checkpoints))


@pytest.mark.parametrize("checkpoints", range(8))
async def test_a_signal_close_to_the_start_is_not_missed(checkpoints: int, signals: Signals) -> None:
    with trio.fail_after(60):
        assert await run_jobs([job("only", checkpoints)], signals) == 0


async def test_a_signal_between_the_import_of_the_service_and_the_start_is_not_missed_either(
    signals: Signals,
) -> None:
    async def never_to_start(**_: object) -> None:
        await trio.sleep_forever()

    with trio.fail_after(60):
        signal.raise_signal(signal.SIGTERM)
        assert await run_jobs([Job(name="only", line="only", start=never_to_start)], signals) == 0


async def never(*, task_status: trio.TaskStatus[Worker]) -> None:
    """Holds a request that is never computed."""
    worker = Held()
    task_status.started(worker)  # type: ignore[arg-type] # it is only drained
    await trio.sleep_forever()


class Held:
    """A worker that is asked to drain, and can't."""

    def __init__(self) -> None:
        self.drained = 0

    def drain(self) -> None:
        self.drained += 1


@pytest.mark.parametrize("first", OBEYED)
@pytest.mark.parametrize("second", OBEYED)
async def test_signals_at_the_same_moment_are_one_wish_and_a_later_one_stops_at_once(
    first: signal.Signals, second: signal.Signals, signals: Signals, autojump_clock: trio.testing.MockClock
) -> None:
    ended: list[tuple[float, int]] = []

    async def run() -> None:
        code = await run_jobs([Job(name="only", line="only", start=never)], signals)
        ended.append((trio.current_time(), code))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(1)
        for after, signum in ((0, first), (0.001, second), (SAME_SIGNAL / 2, first)):
            await trio.sleep(after)
            signal.raise_signal(signum)
        await trio.sleep(SAME_SIGNAL)
        assert ended == []
        signal.raise_signal(second)
        later = trio.current_time()
    assert ended == [(later, 128 + second)]


async def test_all_that_came_before_the_workers_run_are_one_wish(
    signals: Signals, autojump_clock: trio.testing.MockClock
) -> None:
    for each in OBEYED:
        signal.raise_signal(each)
        signal.raise_signal(each)
    start = partial(start_from_memory)
    assert await run_jobs([Job(name="only", line="only", start=start)], signals) == 0


async def start_from_memory(*, task_status: trio.TaskStatus[Worker]) -> None:
    await serve(echo, MemoryBroker(), Topology(queue="q"), task_status=task_status)


async def test_a_signal_after_the_last_worker_has_drained_changes_nothing(signals: Signals) -> None:
    signal.raise_signal(signal.SIGTERM)
    with trio.fail_after(60):
        assert await run_jobs([Job(name="only", line="only", start=start_from_memory)], signals) == 0
    for each in OBEYED:
        signal.raise_signal(each)


@pytest.fixture
def without_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signals]:
    monkeypatch.setattr(_signals, "_is_there", lambda: False)
    taken = Signals()
    yield taken
    taken.restore()


async def test_a_hang_up_signal_is_the_wish_to_reload_where_no_terminal_has_hung_up(
    without_terminal: Signals, autojump_clock: trio.testing.MockClock
) -> None:
    reloads: list[float] = []
    signal.raise_signal(signal.SIGHUP)  # while the models are imported
    without_terminal.keep()

    async def run() -> int:
        for _ in range(3):
            await trio.sleep(1)
            signal.raise_signal(signal.SIGHUP)
        await trio.sleep(1)
        return 7

    noted = partial(reloads.append, 1)
    code = await without_terminal.drain_and_stop(run, lambda: pytest.fail("it drains"), reload=noted)
    assert (code, len(reloads)) == (7, 4)


async def test_a_process_that_drains_is_not_hurried_by_the_wish_to_reload(
    without_terminal: Signals, autojump_clock: trio.testing.MockClock
) -> None:
    without_terminal.keep()

    async def run() -> int:
        for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
            signal.raise_signal(each)
            await trio.sleep(1)
        return 0

    assert await without_terminal.drain_and_stop(run, lambda: None) == 0


def test_a_signal_while_the_models_are_imported_interrupts_once_for_each_wish() -> None:
    signals = Signals()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # the same wish
    finally:
        signals.restore()


def test_signals_that_an_imported_module_took_for_itself_are_obeyed_all_the_same() -> None:
    signals = Signals()
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, OBEYED)
        signals.keep()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(OBEYED) == set()
        assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT)
    finally:
        signals.restore()
