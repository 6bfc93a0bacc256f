"""One thread at a time, by `trio.to_thread`, without the turn of the scheduler that trio's limiter costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import trio

from rpcb_trio._forks import ending_children

T = TypeVar("T")


class Lane:
    """Runs functions in threads, never two at once.

    Threads can't be cancelled: a function whose caller was cancelled runs to its end, its result is dropped,
    and the lane is free again only then.

    Args:
        name: what a debugger and the system call the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._borrower: object = None
        self._returned = trio.Event()

    @property
    def is_free(self) -> bool:
        """Whether no function is running."""
        return self._borrower is None

    async def free(self) -> None:
        """Wait until no function is running."""
        while self._borrower is not None:
            await self._returned.wait()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function` in a thread once the lane is free; cancelled, it returns at once."""
        limiter = cast(trio.CapacityLimiter, self)  # trio takes whatever has the two methods below
        return await trio.to_thread.run_sync(
            ending_children, function, *args, thread_name=self._name, limiter=limiter, abandon_on_cancel=True
        )

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """See `trio.CapacityLimiter`."""
        await self.free()
        self._borrower = borrower

    def release_on_behalf_of(self, _borrower: object) -> None:
        """See `trio.CapacityLimiter`."""
        self._borrower = None
        self._returned.set()
        self._returned = trio.Event()
