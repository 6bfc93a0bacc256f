"""Green threads: trio can't run where gevent or eventlet has replaced select, sockets and threads."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rpcb_trio.errors import SettingError

REPLACED = ("select", "selectors", "socket", "threading", "thread", "_thread", "time", "queue")
"""Modules that trio, or a thread beside it, needs."""

PATCHERS = {
    "gevent": ("gevent.monkey", "is_module_patched"),
    "eventlet": ("eventlet.patcher", "is_monkey_patched"),
}
"""The libraries, and the function of each that says what it has replaced."""


def refuse_green_threads(remedy: str) -> None:
    """Refuse a process in which a library has replaced what trio runs on.

    Raises:
        SettingError: it has; the message ends with `remedy`.
    """
    for library, (module, asked) in PATCHERS.items():
        is_replaced: Callable[[str], bool] = getattr(sys.modules.get(module), asked, lambda _: False)
        if any(map(is_replaced, REPLACED)):
            raise SettingError(
                f"{library} has monkey-patched this process, and trio can't run on what it puts in the place "
                f"of select, sockets and threads; {remedy}"
            )
