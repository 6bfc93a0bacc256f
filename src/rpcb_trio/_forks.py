"""Sockets that no child which a model forks may keep, or their other end would not see that the worker died.

Close-on-exec does not help, for such a child need not exec. One that a library in C forks, without Python's
knowledge, keeps them nevertheless.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class Closable(Protocol):
    """A socket, of the standard library or of trio."""

    def detach(self) -> int:
        """Let go of the descriptor without closing it."""
        ...


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
