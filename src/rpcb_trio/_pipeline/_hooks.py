"""Where a service's `decode`, `cost` and `encode` run: off the event loop, under a watchdog."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import trio

from rpcb_trio._errors import HooksHung, HookTimeout

T = TypeVar("T")

HOOK_TIMEOUT = 60.0
"""Seconds, unless set otherwise, that `decode` with `cost`, or `encode`, may take for one request."""

MOST_STUCK = 8
"""Threads that may be stuck in hooks; one more, and the worker ends, for each keeps its request in memory."""


class Offload(Protocol):
    """Runs a function somewhere it may block: `HookThreads` in a worker, in place in virtual time."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Run `function` and return what it returned."""
        ...


class HookThreads:
    """Runs functions in at most `limit` threads; a cancelled one runs to its end and its result is dropped.

    A thread that was cancelled takes nobody's place while it runs on.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limiter = trio.CapacityLimiter(limit)

    @property
    def lent(self) -> int:
        """How many threads run on that were cancelled."""
        return int(self._limiter.total_tokens) - self._limit

    async def __call__(self, function: Callable[[], T]) -> T:
        """Run `function` in a thread."""
        run = _Run(self._limiter)
        try:
            return await trio.to_thread.run_sync(
                run.until_its_end, function, limiter=self._limiter, abandon_on_cancel=True
            )
        except trio.Cancelled:
            run.abandon()
            raise


class _Run:
    """One function in a thread. While it is abandoned and has not ended, the limiter has one token more."""

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._token = trio.lowlevel.current_trio_token()
        self._has_started = self._has_ended = self._is_abandoned = self._has_lent = False

    def until_its_end(self, function: Callable[[], T]) -> T:
        self._has_started = True
        try:
            if self._is_abandoned:  # before the thread came to it; nobody wants it any more
                raise trio.RunFinishedError
            return function()
        finally:
            self._has_ended = True
            if self._is_abandoned:
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._give_back)

    def abandon(self) -> None:
        self._is_abandoned = True
        if self._has_started and not self._has_ended:
            self._has_lent = True
            self._limiter.total_tokens += 1

    def _give_back(self) -> None:
        if self._has_lent:
            self._limiter.total_tokens -= 1


class Watchdog:
    """Bounds how long a hook may take for one request.

    Args:
        offload: runs the hooks.
        timeout: seconds; infinity for any time.
    """

    def __init__(self, offload: Offload, timeout: float) -> None:
        self._offload = offload
        self._timeout = timeout
        self._stuck: list[Callable[[], bool]] = []
        self._overrun = trio.Event()

    async def run(self, function: Callable[[], T], hooks: str) -> T:
        """Run `function`, which calls these hooks.

        Raises:
            HookTimeout: it took too long; its thread is left to run.
        """
        is_running = True

        def run() -> T:
            nonlocal is_running
            try:
                return function()
            finally:
                is_running = False

        with trio.move_on_after(self._timeout):
            return await self._offload(run)
        self._stuck = [each for each in self._stuck if each()]
        self._stuck.append(lambda: is_running)
        if len(self._stuck) > MOST_STUCK:
            self._overrun.set()
        raise HookTimeout(f"{hooks} took longer than {self._timeout:g} s (hook_timeout)")

    async def overrun(self) -> HooksHung:
        """Wait until too many threads are stuck."""
        await self._overrun.wait()
        return HooksHung(len(self._stuck))
