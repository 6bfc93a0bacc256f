"""SIGTERM, SIGINT and SIGHUP, from the first line of a command until its process ends.

1. Until a command can drain, a signal is a `KeyboardInterrupt`: models may take long to import, and as
   process 1 of a container SIGTERM would do nothing by itself.
2. Then signals are kept until the event loop acts on them.
3. The first one drains. Further ones within `SAME_SIGNAL` of it count as the same: `timeout`, shells and
   supervisors signal a process and its group at once. The next one after that stops all at once.
4. Once the loop has ended, signals have no effect: the process ends by itself, within bounded time.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from types import FrameType

import trio

log = logging.getLogger("rpcb_trio")

_HANGS_UP = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # nohup ignores it for what it runs

OBEYED = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if _HANGS_UP else []))
"""SIGHUP comes from a terminal that is gone, and from operators who expect it to reload."""

SAME_SIGNAL = 0.1
"""Seconds from a signal within which a further one counts as the same."""


class Signals:
    """What the process does with its signals. Make it in the main thread."""

    def __init__(self) -> None:
        self._keeps = False
        self._kept: list[int] = []
        self._interrupted = -math.inf
        self._before = {each: signal.signal(each, self._take) for each in OBEYED}
        _leave_children_theirs()

    def keep(self) -> None:
        """Raise no `KeyboardInterrupt` from now on; `drain_and_stop` acts on the signals.

        The modules that were imported meanwhile may have taken the signals for themselves, or blocked them.
        """
        self._keeps = True
        for each in OBEYED:
            signal.signal(each, self._take)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)

    def restore(self) -> None:
        """Have the process treat them as before. Only tests need that."""
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _take(self, signum: int, _: FrameType | None) -> None:
        if self._keeps:
            self._kept.append(signum)
        elif time.monotonic() - self._interrupted > SAME_SIGNAL:
            self._interrupted = time.monotonic()
            raise KeyboardInterrupt

    async def drain_and_stop(
        self, run: Callable[[], Awaitable[int]], drain: Callable[[], object], what: str = ""
    ) -> int:
        """Run until the end; the first signal drains, the next one that is not the same stops all at once.

        Args:
            run: what the process does; it returns the exit code.
            drain: called at the first signal; it makes `run` come to its end.
            what: is drained, for the log.

        Returns:
            The exit code: that of `run`, or 128 and the number of the signal that stopped it.
        """
        code = 0
        with trio.open_signal_receiver(*OBEYED) as signals:
            async with trio.open_nursery() as nursery:
                stopping = _Stopping(signals, self._kept, nursery.cancel_scope)
                nursery.start_soon(stopping.act, drain, what)
                code = await run()
                nursery.cancel_scope.cancel()
        return code if stopping.stopped_by is None else 128 + stopping.stopped_by


class _Stopping:
    """What signals do to a process that serves."""

    def __init__(self, signals: AsyncIterator[int], kept: list[int], everything: trio.CancelScope) -> None:
        self._signals = signals
        self._kept = kept
        self._everything = everything
        self.stopped_by: int | None = None

    async def act(self, drain: Callable[[], object], what: str) -> None:
        first = self._kept[0] if self._kept else await anext(self._signals)
        same_until = trio.current_time() + SAME_SIGNAL
        log.info("%s: draining%s; a second signal stops at once", signal.Signals(first).name, what)
        drain()
        async for signum in self._signals:
            if trio.current_time() > same_until:
                self.stopped_by = signum
                log.warning("%s again: stopping at once", signal.Signals(signum).name)
                self._everything.cancel()
                return


@cache
def _leave_children_theirs() -> None:
    """Have a signal end the processes that a model forks, though they inherit this process's handlers."""

    def reset() -> None:
        for each in OBEYED:
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    os.register_at_fork(after_in_child=reset)
