"""Where a service's `decode`, `cost` and `encode` run: off the event loop, under a watchdog."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import trio

from rpcb_trio._errors import HooksHung, HookTimeout
from rpcb_trio._forks import ending_children

T = TypeVar("T")

HOOK_TIMEOUT = 60.0
"""Seconds, unless set otherwise, that `decode` with `cost`, or `encode`, may take for one request."""

MOST_STUCK = 8
"""Threads that may be stuck in hooks; one more, and the worker ends, for each keeps its request in memory."""


class Offload(Protocol):
    """Runs a function somewhere it may block: `in_thread` in a worker, in place in virtual time."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Run `function` and return what it returned."""
        ...


async def in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread; a cancelled one runs to its end and its result is dropped."""
    return await trio.to_thread.run_sync(
        ending_children, function, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True
    )


class _Left:
    """A call that nobody waits for any more."""

    due = math.inf
    has_begun = is_over = False


class Hooks:
    """Runs hooks, so many at a time, and bounds how long each may take for one request.

    Args:
        offload: runs them.
        most: how many at a time. What was cancelled or took too long takes nobody's place while it runs on.
        timeout: seconds; infinity for any time.
    """

    def __init__(self, offload: Offload, *, most: int, timeout: float = HOOK_TIMEOUT) -> None:
        self._offload = offload
        self._places = trio.CapacityLimiter(most)
        self._timeout = timeout
        self._left: list[_Left] = []
        self._stuck = 0
        self._overrun = trio.Event()

    async def run(self, function: Callable[[], T], hooks: str) -> T:
        """Run `function`, which calls these hooks.

        Raises:
            HookTimeout: it took too long; its thread is left to run.
        """
        if self._timeout == math.inf:
            async with self._places:
                return await self._offload(function)
        left = _Left()

        def run() -> T:
            left.has_begun = True
            try:
                return function()
            finally:
                left.is_over = True

        async with self._places:
            left.due = trio.current_time() + self._timeout
            try:
                with trio.move_on_at(left.due):
                    return await self._offload(run)
            except trio.Cancelled:
                if left.has_begun:
                    self._leave(left)
                raise
        self._leave(left)
        raise HookTimeout(f"{hooks} took longer than {self._timeout:g} s (hook_timeout)")

    def _leave(self, one: _Left) -> None:
        """Count those that run on though their time is over."""
        self._left = [each for each in (*self._left, one) if not each.is_over]
        now = trio.current_time()
        self._stuck = sum(each.due <= now for each in self._left)
        if self._stuck > MOST_STUCK:
            self._overrun.set()

    async def overrun(self) -> HooksHung:
        """Wait until too many threads are stuck."""
        await self._overrun.wait()
        return HooksHung(self._stuck)
