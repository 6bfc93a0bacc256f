"""The command `reload`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated

from cyclopts import Group

from rpcb_trio._bounds import COUNT
from rpcb_trio._commands._control import IS_THERE, ask, own_processes
from rpcb_trio._commands._exits import ExitCode, Unreachable
from rpcb_trio._commands._logs import report_more
from rpcb_trio._commands._settings._changes import Report
from rpcb_trio._commands._settings._control import token_of
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import ControlSettings
from rpcb_trio._commands.reload._over_http import ask_at
from rpcb_trio.errors import SettingError

ASKED = Group("Which process", sort_key=0)

GRAVITY = (
    ExitCode.UNREACHABLE,
    ExitCode.WRONG_SETTING,
    ExitCode.WARM_UP_FAILED,
    ExitCode.NEEDS_RESTART,
    ExitCode.DONE,
)
"""Of several endings the first of these is the command's."""


def reload(
    *,
    pid: Annotated[
        int | None,
        flag(
            ASKED,
            "A process of this machine. Without it, all that this user has here.",
            "PID",
            shown=False,
            bounds=COUNT,
        ),
    ] = None,
    url: Annotated[
        str | None,
        flag(ASKED, "Or: where its health-port is, as http://host:8080.", "URL", shown=False),
    ] = None,
    token_file: Annotated[
        str | None, flag(ASKED, "For --url: the file that holds the control-token.", "FILE", shown=False)
    ] = None,
    control: ControlSettings = ControlSettings(),
) -> int:
    """Have running processes read their settings again, and show what came of it.

    It prints a line for each setting that differs, and ends with 0 if all of them were changed live.
    """
    if token_file is not None:
        if url is None:
            raise SettingError("--token-file is for --url; give --url, too, or leave it out")
        control = ControlSettings(control_token_file=token_file)
    codes = {_shown(name, ask_it) for name, ask_it in _asked(pid, url, control).items()}
    return next(each for each in GRAVITY if each in codes)


def _asked(pid: int | None, url: str | None, control: ControlSettings) -> Mapping[str, Callable[[], Report]]:
    """How to ask each process, by what it is called."""
    if url is not None:
        if pid is not None:
            raise SettingError("--url and --pid are both given; leave one of them out")
        return {url: partial(ask_at, url, token_of(control))}
    found = own_processes() if pid is None else [pid]
    if not found:
        raise SettingError(
            "no process of rpcb-trio is found that this user runs on this machine; give --pid, or --url and "
            "--token-file for one elsewhere"
        )
    return {f"process {each}": partial(ask if IS_THERE else _signal, each) for each in found}


def _shown(name: str, ask_it: Callable[[], Report]) -> ExitCode:
    """Ask one process, and print what it reports."""
    try:
        report = ask_it()
    except Unreachable as error:
        report_more(str(error))
        return ExitCode.UNREACHABLE
    if report.error is not None:
        report_more(f"{name}: {report}")
        return ExitCode.UNREACHABLE if report.is_passing else ExitCode.WRONG_SETTING
    for line in (*report.changes, f"{name}: {report}"):
        sys.stdout.write(f"{line}\n")
    if report.of("failed"):
        return ExitCode.WARM_UP_FAILED
    return ExitCode.NEEDS_RESTART if report.of("restart") else ExitCode.DONE


def _signal(pid: int) -> Report:
    """Where there is no control socket, the process's log alone has the report."""
    with suppress(OSError):
        os.kill(pid, signal.SIGHUP)
        raise Unreachable(f"process {pid} was sent SIGHUP; its log says what came of it")
    raise Unreachable(f"there is no process {pid} of this user")
