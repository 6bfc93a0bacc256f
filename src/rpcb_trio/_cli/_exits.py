"""How a command ends: its exit code and, where it is an error, one line that says what and what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Self

from rpcb_trio._cli._logs import tell
from rpcb_trio._errors import (
    CallInterrupted,
    DrainTimeout,
    LoginRefused,
    Refused,
    RemoteError,
    ReplyTimeout,
    RpcbError,
    SessionLost,
    SettingError,
    TopologyMismatch,
    Unroutable,
)

log = logging.getLogger("rpcb_trio")


class ExitCode(IntEnum):
    """Every exit code, with its meaning for the end of `--help`."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "done: drained on the first SIGTERM or SIGINT (serve), or the reply is here (call)"
    CRASHED = 1, "crashed: an unexpected error, with its traceback in the log"
    WRONG_SETTING = 2, "a wrong setting, target or usage; nothing was started"
    LOGIN_REFUSED = 3, "the broker refused the login"
    TOPOLOGY_MISMATCH = 4, "the broker's queue or exchange contradicts the settings"
    UNREACHABLE = 5, "the broker could not be reached at the start"
    DRAIN_TIMEOUT = 6, "drain-timeout ran out; what was left is redelivered"
    ERROR_REPLY = 7, "the worker answered with an error reply (call)"
    UNROUTABLE = 8, "no queue is there (call)"
    REPLY_TIMEOUT = 9, "no reply came in time (call)"
    INTERRUPTED = 10, "the connection was lost while the reply was awaited (call)"
    REFUSED = 11, "the broker would not take the request: its queue is full (call)"
    STOPPED_BY_SIGINT = 130, "stopped at once: by the second SIGINT (call, demo: by the first)"
    STOPPED_BY_SIGTERM = 143, "stopped at once: by the second SIGTERM"


CODES: dict[type[RpcbError], ExitCode] = {
    SettingError: ExitCode.WRONG_SETTING,
    LoginRefused: ExitCode.LOGIN_REFUSED,
    TopologyMismatch: ExitCode.TOPOLOGY_MISMATCH,
    SessionLost: ExitCode.UNREACHABLE,
    DrainTimeout: ExitCode.DRAIN_TIMEOUT,
    RemoteError: ExitCode.ERROR_REPLY,
    Unroutable: ExitCode.UNROUTABLE,
    ReplyTimeout: ExitCode.REPLY_TIMEOUT,
    CallInterrupted: ExitCode.INTERRUPTED,
    Refused: ExitCode.REFUSED,
}


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command and tell how it ended; errors come singly or in groups, and become lines and a code."""
    code = ExitCode.DONE
    try:
        return command()
    except* tuple(CODES) as group:
        for error in _leaves(group):
            tell(str(error))
            code = next(CODES[kind] for kind in CODES if isinstance(error, kind))
    except* KeyboardInterrupt:
        code = ExitCode.STOPPED_BY_SIGINT
    except* Exception as group:  # the last boundary: all that was not foreseen
        log.critical("crashed: %s", next(_leaves(group)), exc_info=group)
        code = ExitCode.CRASHED
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
