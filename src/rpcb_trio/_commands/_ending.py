"""The end of the process, whatever a model has left behind in it.

Python waits, at its end, for threads that are no daemons, for pools, for children, and for what is registered
with `atexit`. Each of these may never end. They get `GRACE` seconds; then the process ends all the same, with
a line that names them and with the exit code it had. Where even that can't run, since a library holds the GIL
or cleans up for ever, the kernel ends it after `LAST_GRACE` seconds, by SIGALRM.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from rpcb_trio._commands._logs import report_more
from rpcb_trio._commands._signals import OBEYED
from rpcb_trio._commands._streams import leave_streams
from rpcb_trio._guard import is_of_a_library
from rpcb_trio._shown import shown

GRACE = 3.0
"""Seconds that Python's own end may take."""

LAST_GRACE = 10
"""Whole seconds until the kernel ends it. Python with torch takes 3 s to end where processors are busy."""

MOST_NAMED = 8
LONGEST_NAME = 80


def end_with(command: Callable[[], int]) -> NoReturn:
    """Run a command, and end the process with its exit code, in bounded time."""
    try:
        code = command()
    except SystemExit as ending:
        code = _code_of(ending)
    for each in OBEYED:  # it is ending already
        with suppress(ValueError):  # in a thread, which only a program would do
            signal.signal(each, signal.SIG_IGN)
    _set_alarm()
    try:
        threading.Thread(target=_end_in_time, args=(code,), name="rpcb-end", daemon=True).start()
    except RuntimeError:  # there is no room for one more thread
        leave_behind(code)
    leave_streams()
    sys.exit(code)


def leave_behind(code: int) -> NoReturn:
    """End the process now, though threads hang: the interpreter's own end may wait for what they hold."""
    _set_alarm()
    leave_streams()
    logging.shutdown()
    os._exit(code)


def _set_alarm() -> None:
    with suppress(ValueError):  # not in the main thread, and it is set already
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LAST_GRACE)


def _code_of(ending: SystemExit) -> int:
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    print(ending.code, file=sys.stderr)  # noqa: T201 - as Python does
    return 1


def _end_in_time(code: int) -> None:
    time.sleep(GRACE)
    children = _children()
    with suppress(Exception):  # whatever the model has made of its threads
        report_more(f"the process does not end by itself, so it is ended: {_reasons(children)}")
    for _, pid in children:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    leave_behind(code)


def _reasons(children: list[tuple[str, int]]) -> str:
    """What keeps it: threads, children, or else what the main thread is at."""
    threads = [
        each
        for each in threading.enumerate()
        if not each.daemon and each is not threading.main_thread() and each.is_alive()
    ]
    parts = []
    if threads:
        names = [f"{shown(str(each.name), LONGEST_NAME)} at {_place(each)}" for each in threads]
        parts.append(f"{len(threads)} thread(s) still run ({_listed(names)})")
    if children:
        names = [f"{name}, process {pid}" for name, pid in children]
        parts.append(f"{len(children)} child process(es) still run ({_listed(names)})")
    if not parts:
        parts.append(f"what was registered with atexit does not return ({_place(threading.main_thread())})")
    return " and ".join(parts)


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return "; ".join(names[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _place(thread: threading.Thread) -> str:
    """The innermost line of the user's own code where a thread is, or of any where there is none."""
    frame = own = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - there is no other way
    while own is not None and is_of_a_library(own.f_code.co_filename):
        own = own.f_back
    at = own or frame
    return "an unknown place" if at is None else f"{Path(at.f_code.co_filename).name}:{at.f_lineno}"


def _children() -> list[tuple[str, int]]:
    """Those of `multiprocessing`, which are waited for; each with its name and its process id."""
    found = list[tuple[str, int]]()
    multiprocessing = sys.modules.get("multiprocessing")
    with suppress(Exception):
        for each in multiprocessing.active_children() if multiprocessing else ():
            found.append((shown(str(each.name), LONGEST_NAME), int(each.pid or 0)))
    return [(name, pid) for name, pid in found if pid > 0]
