"""How errors become exit codes."""

from __future__ import annotations

import logging

import pytest

from rpcb_trio import (
    CallInterrupted,
    DrainTimeout,
    InferError,
    LoginRefused,
    RemoteError,
    ReplyTimeout,
    SessionLost,
    SettingError,
    TopologyMismatch,
    Unroutable,
)
from rpcb_trio._cli._exits import ExitCode, exit_code_of

FORESEEN = [
    (SettingError("what"), ExitCode.WRONG_SETTING),
    (LoginRefused("what"), ExitCode.LOGIN_REFUSED),
    (TopologyMismatch("what"), ExitCode.TOPOLOGY_MISMATCH),
    (SessionLost("what"), ExitCode.UNREACHABLE),
    (DrainTimeout(3, 4), ExitCode.DRAIN_TIMEOUT),
    (RemoteError("what"), ExitCode.ERROR_REPLY),
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])])
def test_an_interrupt_shows_no_traceback(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(error) == 130
    assert capsys.readouterr().err == ""
