"""SIGTERM, SIGINT and SIGHUP, from the first line of a command until its process is gone.

1. Until a command can drain, a signal is a `KeyboardInterrupt`: models may take long to import, and as
   process 1 of a container SIGTERM would do nothing by itself.
2. Then signals are kept until the event loop obeys them.
3. The first one that is obeyed drains. Whatever comes within `SAME_WISH` of it is the same wish: `timeout`,
   shells and supervisors signal a process and its group at once. The next one after that stops all at once.
4. Once the loop has ended, signals are of no effect: the process ends by itself, within bounded time.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

import trio

log = logging.getLogger("rpcb_trio")

_HANGS_UP = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # it is for what nohup runs

OBEYED = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if _HANGS_UP else []))
"""SIGHUP is that of a terminal that is gone, and of who takes a reload for a restart."""

SAME_WISH = 0.1
"""Seconds from a signal within which another one says nothing new."""


class Signals:
    """What the process does with its signals. Make it in the main thread."""

    def __init__(self) -> None:
        self._keeps = False
        self._kept: list[int] = []
        self._interrupted = -math.inf
        self._before = {each: signal.signal(each, self._take) for each in OBEYED}
        _leave_children_theirs()

    def keep(self) -> None:
        """Interrupt nobody from now on: `Wishes.obey` does what a signal wishes.

        The modules that were imported meanwhile may have taken the signals for themselves, or blocked them.
        """
        self._keeps = True
        for each in OBEYED:
            signal.signal(each, self._take)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)

    def give_back(self) -> None:
        """Have the process treat them as before; only tests live on."""
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _take(self, signum: int, _: FrameType | None) -> None:
        if self._keeps:
            self._kept.append(signum)
        elif time.monotonic() - self._interrupted > SAME_WISH:
            self._interrupted = time.monotonic()
            raise KeyboardInterrupt

    @contextmanager
    def received(self) -> Iterator[Wishes]:
        """Have the event loop receive them, from the first that was kept."""
        with trio.open_signal_receiver(*OBEYED) as signals:
            yield Wishes(self._kept, signals)


@cache
def _leave_children_theirs() -> None:
    """Have processes that a model forks end by a signal, though they inherit what this one does with it."""

    def reset() -> None:
        for each in OBEYED:
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    os.register_at_fork(after_in_child=reset)


class Wishes:
    """What signals wish of a process that serves."""

    def __init__(self, kept: list[int], signals: AsyncIterator[int]) -> None:
        self._kept = kept
        self._signals = signals
        self.stopped_by: int | None = None
        """The second signal, if it was obeyed."""

    async def obey(self, what: str, drain: Callable[[], object], everything: trio.CancelScope) -> None:
        """Drain at the first signal, and cancel everything at the next one that is not the same wish.

        Args:
            what: is drained, for the log.
            drain: called at the first.
            everything: cancelled at the next.
        """
        name = signal.Signals(self._kept[0] if self._kept else await anext(self._signals)).name
        same_until = trio.current_time() + SAME_WISH
        log.info("%s: draining%s; a second signal stops at once", name, what)
        drain()
        async for signum in self._signals:
            if trio.current_time() > same_until:
                self.stopped_by = signum
                log.warning("%s again: stopping at once", signal.Signals(signum).name)
                everything.cancel()
                return
