"""Green threads: trio can't run on what gevent and eventlet put in the place of select and sockets."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rpcb_trio._errors import SettingError

REPLACED = ("select", "selectors", "socket", "threading", "thread", "_thread", "time", "queue")
"""Modules that trio, or a thread beside it, leans on."""

PATCHERS = {
    "gevent": ("gevent.monkey", "is_module_patched"),
    "eventlet": ("eventlet.patcher", "is_monkey_patched"),
}
"""The libraries, and where each tells what it has replaced."""


def refuse_green_threads(remedy: str) -> None:
    """Refuse to go on where a library has replaced what trio runs on.

    Raises:
        SettingError: it has; `remedy` is told at the end.
    """
    for library, (module, asked) in PATCHERS.items():
        is_replaced: Callable[[str], bool] = getattr(sys.modules.get(module), asked, lambda _: False)
        if any(map(is_replaced, REPLACED)):
            raise SettingError(
                f"{library} has monkey-patched this process, and trio can't run on what it puts in the place "
                f"of select, sockets and threads; {remedy}"
            )
