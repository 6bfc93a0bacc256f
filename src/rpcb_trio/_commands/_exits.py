"""How a command ends: its exit code, and for an error one line with what is wrong and what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Self

from rpcb_trio._commands._ending import leave_behind
from rpcb_trio._commands._logs import report
from rpcb_trio._commands._streams import flush_output, is_of_output, prepare_streams
from rpcb_trio._messages import RemoteError
from rpcb_trio.errors import (
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

log = logging.getLogger("rpcb_trio")

LOGIN = "user, password, virtual host, certificate"
LOST = "its process can't be started, or its device is lost"


class Unreachable(Exception):
    """No process answers there; the message says why."""


class ExitCode(IntEnum):
    """Every exit code, with its meaning, and the error that ends a command with it."""

    meaning: str
    error: type[RpcbError] | None

    def __new__(cls, value: int, meaning: str, error: type[RpcbError] | None = None) -> Self:
        code = int.__new__(cls, value)
        code._value_, code.meaning, code.error = value, meaning, error
        return code

    DONE = 0, "done: drained on the first SIGTERM or SIGINT (serve), or the reply is here (call)"
    CRASHED = 1, "crashed: an unexpected error, with its traceback in the log; or not ready (health)"
    WRONG_SETTING = 2, "a wrong setting, target or usage; nothing was started", SettingError
    LOGIN_REFUSED = 3, f"the broker refused the login ({LOGIN}), or TLS failed", LoginRefused
    TOPOLOGY_MISMATCH = (
        4,
        "the broker's queue or exchange contradicts the settings, or the user lacks a right",
        TopologyMismatch,
    )
    UNREACHABLE = 5, "the broker could not be reached at the start, or the process (reload)", SessionLost
    DRAIN_TIMEOUT = 6, "drain-timeout ran out; what was left is redelivered", DrainTimeout
    ERROR_REPLY = 7, "the worker sent an error reply (call), or the service made one (try)", RemoteError
    UNROUTABLE = 8, "no queue is there (call)", Unroutable
    REPLY_TIMEOUT = 9, "no reply came in time (call)", ReplyTimeout
    INTERRUPTED = 10, "the connection was lost before the reply came (call)", CallInterrupted
    REFUSED = 11, "the broker refused the request: its queue is full (call)", PublishRefused
    EXECUTOR_HUNG = 12, f"infer took longer than infer-timeout, or {LOST} (serve, try)", ExecutorHung
    PROBLEMS_FOUND = 13, "there is a problem to solve (doctor)"
    NOT_MET = 14, "more errors than max-errors allows, or no rate meets the objective (load)"
    NO_EVENTS = 15, "no worker publishes events (top)"
    WARM_UP_FAILED = 16, "the service could not be warmed up (serve, reload, try)", WarmUpFailed
    TOO_BIG = 17, "the request is larger than the broker takes (call)", RequestTooBig
    NEEDS_RESTART = 18, "a setting that has changed needs a restart (reload)"
    STOPPED_BY_SIGHUP = 129, "stopped at once: the terminal hung up while it drained"
    STOPPED_BY_SIGINT = 130, "stopped at once: by the second SIGINT (call, demo, load: by the first)"
    STOPPED_BY_SIGTERM = 143, "stopped at once: by the second SIGTERM"


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command and print how it ended; errors come singly or in groups, and become lines and a code.

    A `SystemExit` passes if it comes from no task: then the command itself, or a module it loads, ends it.
    """
    prepare_streams()
    try:
        code = command()
        flush_output()
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the last boundary
        code = _report_ending(error)
    if code is ExitCode.EXECUTOR_HUNG:
        leave_behind(code)
    return code


def _report_ending(error: BaseException) -> ExitCode:
    code = ExitCode.CRASHED
    crashes = []
    leaves = list(_leaves(error))
    is_interrupted = any(isinstance(each, KeyboardInterrupt) for each in leaves)
    for each in leaves:
        foreseen = next((code for code in ExitCode if code.error and isinstance(each, code.error)), None)
        if is_interrupted and (foreseen is not None or isinstance(each, KeyboardInterrupt)):
            code = ExitCode.STOPPED_BY_SIGINT  # what else is foreseen follows from that
        elif foreseen is not None:
            report(str(each))
            code = foreseen
        elif isinstance(each, OSError) and is_of_output(each):
            report(f"standard output can't be written: {each.strerror}")
            code = ExitCode.CRASHED
        else:
            crashes.append(each)
    if crashes:
        _log_crash(crashes[0], error)
    return ExitCode.CRASHED if crashes else code


def _log_crash(crash: BaseException, whole: BaseException) -> None:
    if isinstance(crash, Exception):
        log.critical("crashed: %s", crash, exc_info=whole)
    else:  # a SystemExit of a task, say, needs no traceback
        log.critical("crashed: %r escaped from a task", crash)
        log.debug("the traceback", exc_info=whole)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
