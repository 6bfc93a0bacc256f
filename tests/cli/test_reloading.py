"""Reloads: one at a time, each with a report, whoever asks and whenever."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rpcb_trio import SettingError
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._reloading import Reloading
from rpcb_trio._commands._settings._changes import Change, Report
from rpcb_trio._commands.reload._command import _shown


class Process:
    """Reloads in a second, and is ready when it is told."""

    def __init__(self) -> None:
        self.ready = trio.Event()
        self.hindrance: str | None = "it starts"
        self.begun: list[float] = []
        self.wrong: Exception | None = None

    def start(self) -> None:
        self.hindrance = None
        self.ready.set()

    async def reload(self) -> Report:
        self.begun.append(trio.current_time())
        await trio.sleep(1)
        if self.wrong is not None:
            raise self.wrong
        return Report(changes=(Change("asr", "replicas", "1", "2", "restart"),), unchanged=len(self.begun))


async def test_a_wish_that_comes_too_early_is_granted_once_all_has_started(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process()
    reloading = Reloading(process.reload, process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.run)
        reloading.ask()
        assert await reloading.report() == Report(error="it starts", is_passing=True), (
            "who waits is told at once"
        )
        await trio.sleep(5)
        assert process.begun == []
        process.start()
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert process.begun == [5]
    assert "reload: asr: replicas: needs a restart, 1 -> 2" in caplog.messages


async def test_wishes_that_come_while_one_is_granted_are_granted_together_and_later(
    autojump_clock: MockClock,
) -> None:
    process, reports = Process(), list[tuple[float, int]]()
    reloading = Reloading(process.reload, process)
    process.start()

    async def wait_for_report() -> None:
        report = await reloading.report()
        reports.append((trio.current_time(), report.unchanged))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.run)
        nursery.start_soon(wait_for_report)
        await wait_all_tasks_blocked()
        for _ in range(3000):
            reloading.ask()
        with trio.move_on_after(0.5):
            await reloading.report()  # who goes away does not keep it from being done
        for _ in range(3):
            nursery.start_soon(wait_for_report)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert process.begun == [0, 1]
    assert reports == [(1, 1), (2, 2), (2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (SettingError("rpcb.toml: no"), "rpcb.toml: no"),
        (ZeroDivisionError("oh"), "the reload failed (ZeroDivisionError: oh); the log has more"),
    ],
    ids=["a wrong setting", "a fault"],
)
async def test_whatever_goes_wrong_the_process_goes_on_and_the_next_reload_may_succeed(
    wrong: Exception, error: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process()
    reloading = Reloading(process.reload, process)
    process.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.run)
        process.wrong = wrong
        assert await reloading.report() == Report(error=error)
        process.wrong = None
        assert (await reloading.report()).error is None
        nursery.cancel_scope.cancel()
    assert f"reload: {error}; the settings that were in force stay" in caplog.messages


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(changes=(Change("asr", "prefetch", "1", "2", "live"),)), ExitCode.DONE),
        (Report(changes=(Change("asr", "replicas", "1", "2", "restart"),)), ExitCode.NEEDS_RESTART),
        (Report(changes=(Change("asr", "target", "a:b", "a:c", "failed"),)), ExitCode.WARM_UP_FAILED),
        (Report(error="replicas = 0: it must be at least 1"), ExitCode.WRONG_SETTING),
        (Report(error="it drains", is_passing=True), ExitCode.UNREACHABLE),
    ],
    ids=["live", "restart", "failed", "wrong", "passing"],
)
def test_the_command_ends_with_a_code_that_says_what_came_of_it(report: Report, code: ExitCode) -> None:
    assert _shown("process 1", lambda: report) == code
