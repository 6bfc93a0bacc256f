"""How errors become exit codes."""

from __future__ import annotations

import logging

import pytest

from rpcb_trio import RemoteError, Reply, ReplyTimeout, SettingError
from rpcb_trio._commands._exits import ExitCode, exit_code_of
from rpcb_trio.errors import (
    CallInterrupted,
    DrainTimeout,
    InferError,
    LoginRefused,
    SessionLost,
    TopologyMismatch,
    Unroutable,
    WarmUpFailed,
)

FORESEEN = [
    (SettingError("what"), ExitCode.WRONG_SETTING),
    (LoginRefused("what"), ExitCode.LOGIN_REFUSED),
    (TopologyMismatch("what"), ExitCode.TOPOLOGY_MISMATCH),
    (SessionLost("what"), ExitCode.UNREACHABLE),
    (DrainTimeout(3, 4), ExitCode.DRAIN_TIMEOUT),
    (WarmUpFailed("what"), ExitCode.WARM_UP_FAILED),
    (RemoteError(Reply(body=b"what")), ExitCode.ERROR_REPLY),
    (Unroutable("what"), ExitCode.UNROUTABLE),
    (ReplyTimeout("what"), ExitCode.REPLY_TIMEOUT),
    (CallInterrupted("what"), ExitCode.INTERRUPTED),
]


def ending(error: BaseException) -> int:
    def command() -> int:
        raise error

    return exit_code_of(command)


@pytest.mark.parametrize(("error", "code"), FORESEEN)
def test_each_foreseen_error_is_one_line_and_its_own_code(
    error: Exception, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error) == code
    assert capsys.readouterr().err == f"rpcb-trio: {error}\n"


def test_all_codes_differ() -> None:
    assert len({code for _, code in FORESEEN}) == len(FORESEEN)


def test_an_error_in_groups_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [LoginRefused("go away")])])
    assert ending(nested) == ExitCode.LOGIN_REFUSED
    assert capsys.readouterr().err == "rpcb-trio: go away\n"


@pytest.mark.parametrize(
    "error", [ValueError("oops"), InferError("oops"), ExceptionGroup("", [ValueError("oops")])]
)
def test_what_nobody_foresaw_is_a_crash_with_its_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert ending(error) == ExitCode.CRASHED
    [record] = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.getMessage() == "crashed: oops"
    assert record.exc_info is not None


def test_a_crash_outweighs_what_it_brought_with_it() -> None:
    group = ExceptionGroup("", [SessionLost("gone"), ValueError("oops")])
    assert ending(group) == ExitCode.CRASHED


INTERRUPTED = KeyboardInterrupt()


@pytest.mark.parametrize(
    "error",
    [
        INTERRUPTED,
        BaseExceptionGroup("", [INTERRUPTED]),
        BaseExceptionGroup("", [INTERRUPTED, SessionLost("it is being closed")]),
        BaseExceptionGroup("", [SessionLost("it is being closed"), INTERRUPTED]),
    ],
    ids=["alone", "in a group", "before what follows from it", "after what follows from it"],
)
def test_an_interrupt_shows_nothing_whatever_else_follows_from_it(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_what_wants_to_end_the_process_from_within_a_task_is_a_crash_in_one_line_and_traced_at_debug(
    level: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(level, "rpcb_trio"):
        assert ending(BaseExceptionGroup("", [BaseExceptionGroup("", [SystemExit(3)])])) == ExitCode.CRASHED
    crash, *traces = caplog.records
    assert crash.getMessage() == "crashed: SystemExit(3) escaped from a task"
    assert crash.exc_info is None
    assert len(traces) == (level == logging.DEBUG)
    assert capsys.readouterr().err == ""


def test_a_command_that_exits_by_itself_exits_as_it_wishes() -> None:
    with pytest.raises(SystemExit) as caught:
        ending(SystemExit(3))
    assert caught.value.code == 3


def test_what_is_refused_for_the_login_is_told_in_the_table_of_exit_codes() -> None:
    for reason in ("user", "password", "virtual host", "certificate", "TLS"):
        assert reason in ExitCode.LOGIN_REFUSED.meaning
