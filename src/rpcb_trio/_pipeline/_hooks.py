"""Runs a service's `decode`, `cost` and `encode` off the event loop, with a timeout."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import trio

from rpcb_trio._forks import ending_children
from rpcb_trio.errors import HooksHung, HookTimeout

T = TypeVar("T")

HOOK_TIMEOUT = 60.0
"""Seconds, unless set otherwise, that `decode` with `cost`, or `encode`, may take for one request."""

MOST_STUCK = 8
"""Threads that may be stuck in hooks, each with its request in memory; one more, and the worker ends."""


class Offload(Protocol):
    """Runs a function where it may block: `in_thread` in a worker, `testing.in_place` in virtual time."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Run `function` and return what it returned."""
        ...


async def in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread; cancelled, it runs to its end and its result is dropped."""
    return await trio.to_thread.run_sync(
        ending_children, function, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True
    )


class _HookCall:
    """One call, which may be left to run when it is not awaited any more."""

    due = math.inf
    has_begun = is_over = False


class Hooks:
    """Runs hooks, a number of them at a time, and bounds how long each may take for one request.

    Args:
        offload: runs them.
        most: how many at a time. Calls that were cancelled or took too long do not count while they run on.
        timeout: seconds; infinity for any time.
    """

    def __init__(self, offload: Offload, *, most: int, timeout: float = HOOK_TIMEOUT) -> None:
        self._offload = offload
        self._places = trio.CapacityLimiter(most)
        self.timeout = timeout
        """As it is for the calls to come."""
        self._left: list[_HookCall] = []
        self._stuck = 0
        self._overrun = trio.Event()

    async def run(self, function: Callable[[], T], hooks: str) -> T:
        """Run `function`; `hooks` names what it calls, for the error's text.

        Raises:
            HookTimeout: it took longer than the timeout; its thread is left to run.
        """
        timeout = self.timeout
        if timeout == math.inf:
            async with self._places:
                return await self._offload(function)
        call = _HookCall()

        def run() -> T:
            call.has_begun = True
            try:
                return function()
            finally:
                call.is_over = True

        async with self._places:
            call.due = trio.current_time() + timeout
            try:
                with trio.move_on_at(call.due):
                    return await self._offload(run)
            except trio.Cancelled:
                if call.has_begun:
                    self._leave(call)
                raise
        self._leave(call)
        raise HookTimeout(f"{hooks} took longer than {timeout:g} s (hook_timeout)")

    def _leave(self, call: _HookCall) -> None:
        """Leave a call to run, and count those that run on though their time is over."""
        self._left = [each for each in (*self._left, call) if not each.is_over]
        now = trio.current_time()
        self._stuck = sum(each.due <= now for each in self._left)
        if self._stuck > MOST_STUCK:
            self._overrun.set()

    async def overrun(self) -> HooksHung:
        """Wait until too many threads are stuck."""
        await self._overrun.wait()
        return HooksHung(self._stuck)
