"""SIGTERM, SIGINT and SIGHUP, from the first line of a command until its process ends.

1. Until a command can drain, a signal is a `KeyboardInterrupt`: models may take long to import, and as
   process 1 of a container SIGTERM would do nothing by itself.
2. Then signals are kept until the event loop acts on them.
3. The first one drains. Further ones within `SAME_SIGNAL` of it count as the same: `timeout`, shells and
   supervisors signal a process and its group at once. The next one after that stops all at once.
4. Once the loop has ended, signals have no effect: the process ends by itself, within bounded time.

SIGHUP is two things. It says that the terminal has hung up, and then it is as the others. From an operator or
a service manager it is the wish to reload. The terminal tells which it is (`Terminal`).
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

OBEYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_IS_OF_NOHUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

ENDING = OBEYED[:2] if _IS_OF_NOHUP else OBEYED
"""For a command that has nothing to reload; what nohup runs goes on when the terminal hangs up."""

SAME_SIGNAL = 0.1
"""Seconds from a signal within which a further one counts as the same."""

HANG_UP_SECONDS = 0.05
"""Within which the terminal of a process is gone, once the kernel has told of it."""


class Terminal:
    """The terminal that the process was started from, if there is one.

    What nohup runs, and a service, has none that it depends on: there SIGHUP is never a hang-up.
    """

    def __init__(self) -> None:
        self._is_ours = not _IS_OF_NOHUP and _is_there()

    @property
    def has_hung_up(self) -> bool:
        """Whether it is gone."""
        return self._is_ours and not _is_there()

    async def hangs_up(self) -> bool:
        """Whether it is gone, or going right now."""
        if self._is_ours and not self.has_hung_up:
            await trio.sleep(HANG_UP_SECONDS)
        return self.has_hung_up


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Signals:
    """What the process does with its signals. Make it in the main thread."""

    def __init__(self) -> None:
        self._keeps = False
        self._kept: list[int] = []
        self._terminal = Terminal()
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
        if self._keeps or (signum == signal.SIGHUP and not self._terminal.has_hung_up):
            self._kept.append(signum)
        elif time.monotonic() - self._interrupted > SAME_SIGNAL:
            self._interrupted = time.monotonic()
            raise KeyboardInterrupt

    async def drain_and_stop(
        self,
        run: Callable[[], Awaitable[int]],
        drain: Callable[[], object],
        what: str = "",
        *,
        reload: Callable[[], object] = lambda: None,
    ) -> int:
        """Run until the end; the first signal drains, the next one that is not the same stops all at once.

        Args:
            run: what the process does; it returns the exit code.
            drain: called at the first signal; it makes `run` come to its end.
            what: is drained, for the log.
            reload: called at each SIGHUP that is no hang-up.

        Returns:
            The exit code: that of `run`, or 128 and the number of the signal that stopped it.
        """
        code = 0
        with trio.open_signal_receiver(*OBEYED) as signals:
            async with trio.open_nursery() as nursery:
                stopping = _Stopping(signals, self._kept, self._terminal, reload, nursery.cancel_scope)
                nursery.start_soon(stopping.act, drain, what)
                code = await run()
                nursery.cancel_scope.cancel()
        return code if stopping.stopped_by is None else 128 + stopping.stopped_by


class _Stopping:
    """What signals do to a process that serves."""

    def __init__(
        self,
        signals: AsyncIterator[int],
        kept: list[int],
        terminal: Terminal,
        reload: Callable[[], object],
        everything: trio.CancelScope,
    ) -> None:
        self._signals = signals
        self._kept = kept
        self._terminal = terminal
        self._reload = reload
        self._everything = everything
        self.stopped_by: int | None = None

    async def act(self, drain: Callable[[], object], what: str) -> None:
        first = await self._next()
        same_until = trio.current_time() + SAME_SIGNAL
        log.info("%s: draining%s; a second signal stops at once", signal.Signals(first).name, what)
        drain()
        while self.stopped_by is None:
            signum = await self._next()
            if trio.current_time() > same_until:
                self.stopped_by = signum
        log.warning("%s again: stopping at once", signal.Signals(self.stopped_by).name)
        self._everything.cancel()

    async def _next(self) -> int:
        """The next signal that ends the process."""
        while True:
            signum = self._kept.pop(0) if self._kept else await anext(self._signals)
            if signum != signal.SIGHUP or await self._terminal.hangs_up():
                return signum
            self._reload()


@cache
def _leave_children_theirs() -> None:
    """Have a signal end the processes that a model forks, though they inherit this process's handlers."""

    def reset() -> None:
        for each in OBEYED:
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    os.register_at_fork(after_in_child=reset)
