"""How a command ends: its exit code and, where it is an error, one line that says what and what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Self

from rpcb_trio._commands._ending import leave_behind
from rpcb_trio._commands._logs import tell
from rpcb_trio._commands._streams import flush_output, is_of_output, prepare_streams
from rpcb_trio._errors import (
    CallInterrupted,
    DrainTimeout,
    ExecutorHung,
    LoginRefused,
    PublishRefused,
    ReplyTimeout,
    RequestTooBig,
    RpcbError,
    SessionLost,
    SettingError,
    TopologyMismatch,
    Unroutable,
    WarmUpFailed,
)
from rpcb_trio._messages import RemoteError

log = logging.getLogger("rpcb_trio")


class ExitCode(IntEnum):
    """Every exit code, with its meaning for the end of `--help`."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "done: drained on the first SIGTERM, SIGINT or SIGHUP (serve), or the reply is here (call)"
    CRASHED = 1, "crashed: an unexpected error, with its traceback in the log; or not ready (health)"
    WRONG_SETTING = 2, "a wrong setting, target or usage; nothing was started"
    LOGIN_REFUSED = (
        3,
        "the broker refused the login (user, password, virtual host, certificate), or TLS failed",
    )
    TOPOLOGY_MISMATCH = 4, "the broker's queue or exchange contradicts the settings"
    UNREACHABLE = 5, "the broker could not be reached at the start"
    DRAIN_TIMEOUT = 6, "drain-timeout ran out; what was left is redelivered"
    ERROR_REPLY = 7, "the worker answered with an error reply (call)"
    UNROUTABLE = 8, "no queue is there (call)"
    REPLY_TIMEOUT = 9, "no reply came in time (call)"
    INTERRUPTED = 10, "the connection was lost while the reply was awaited (call)"
    REFUSED = 11, "the broker would not take the request: its queue is full (call)"
    EXECUTOR_HUNG = (
        12,
        "infer took longer than infer-timeout, its process can't be started, or its device is lost (serve)",
    )
    PROBLEMS_FOUND = 13, "something is to be mended (doctor)"
    NOT_MET = 14, "more errors than max-errors allows, or no rate meets the objective (load)"
    NO_EVENTS = 15, "no worker tells of itself (top)"
    WARM_UP_FAILED = 16, "the service could not be warmed up (serve)"
    TOO_BIG = 17, "the request is larger than the broker takes (call)"
    STOPPED_BY_SIGINT = 130, "stopped at once: by the second SIGINT (call, demo, load: by the first)"
    STOPPED_BY_SIGHUP = 129, "stopped at once: by the second SIGHUP"
    STOPPED_BY_SIGTERM = 143, "stopped at once: by the second SIGTERM"


CODES: dict[type[RpcbError], ExitCode] = {
    SettingError: ExitCode.WRONG_SETTING,
    LoginRefused: ExitCode.LOGIN_REFUSED,
    TopologyMismatch: ExitCode.TOPOLOGY_MISMATCH,
    SessionLost: ExitCode.UNREACHABLE,
    DrainTimeout: ExitCode.DRAIN_TIMEOUT,
    WarmUpFailed: ExitCode.WARM_UP_FAILED,
    ExecutorHung: ExitCode.EXECUTOR_HUNG,
    RemoteError: ExitCode.ERROR_REPLY,
    Unroutable: ExitCode.UNROUTABLE,
    ReplyTimeout: ExitCode.REPLY_TIMEOUT,
    CallInterrupted: ExitCode.INTERRUPTED,
    PublishRefused: ExitCode.REFUSED,
    RequestTooBig: ExitCode.TOO_BIG,
}


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command and tell how it ended; errors come singly or in groups, and become lines and a code.

    A `SystemExit` passes if it is no task's: then the command itself, or the module it loads, wants to end.
    """
    prepare_streams()
    try:
        code = command()
        flush_output()
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the last boundary
        code = _tell_ending(error)
    if code is ExitCode.EXECUTOR_HUNG:
        leave_behind(code)
    return code


def _tell_ending(error: BaseException) -> ExitCode:
    code = ExitCode.CRASHED
    crashes = []
    for each in _leaves(error):
        if isinstance(each, tuple(CODES)):
            tell(str(each))
            code = next(CODES[kind] for kind in CODES if isinstance(each, kind))
        elif isinstance(each, KeyboardInterrupt):
            code = ExitCode.STOPPED_BY_SIGINT
        elif isinstance(each, OSError) and is_of_output(each):
            tell(f"standard output can't be written: {each.strerror}")
            code = ExitCode.CRASHED
        else:  # nobody foresaw it
            crashes.append(each)
    if crashes:
        _tell_crash(crashes[0], error)
    return ExitCode.CRASHED if crashes else code


def _tell_crash(crash: BaseException, whole: BaseException) -> None:
    if isinstance(crash, Exception):
        log.critical("crashed: %s", crash, exc_info=whole)
    else:  # a task wants to end the process, say: that needs no traceback
        log.critical("crashed: %r escaped from a task", crash)
        log.debug("the traceback", exc_info=whole)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
