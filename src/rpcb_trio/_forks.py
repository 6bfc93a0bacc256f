"""Children that a model forks: the sockets that they must not keep, and where they end.

If a child kept our sockets, their other end would not see that the worker died. Close-on-exec does not help,
for such a child need not exec. A child that a library in C forks, without Python's knowledge, keeps them
nevertheless.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Closable(Protocol):
    """A socket, of the standard library or of trio, or what does as they do."""

    def detach(self) -> int:
        """Its descriptor, which it knows no more; -1 where it is closed."""


_ours = WeakSet[Closable]()


def close_in_children(each: Closable) -> None:
    """Close a socket in every child that is forked from now on, as long as it is open here."""
    _ours.add(each)


def _close() -> None:
    for each in list(_ours):
        with suppress(OSError):
            os.close(each.detach())
    _ours.clear()


os.register_at_fork(after_in_child=_close)


def ending_children(function: Callable[..., T], *args: Any) -> T:
    """Call a hook, and end every child that it has forked and that returns from it, as by `sys.exit`.

    Such a child would go on as a copy of the worker's thread.
    """
    worker = os.getpid()
    try:
        return function(*args)
    finally:
        if os.getpid() != worker:
            os._exit(0)
