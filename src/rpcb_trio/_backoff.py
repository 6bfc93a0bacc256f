"""Connections that are kept: opened again, with growing waits, whenever they are lost."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, TypeVar

import anyio

from rpcb_trio.errors import BrokerError, first_leaf

FIRST_RETRY = 0.5
"""Seconds: the longest wait before the first attempt."""

LAST_RETRY = 30.0
"""Seconds: the longest wait before any attempt."""

LASTING = 5.0
"""Seconds: how long a session lives that proves all well again."""

log = logging.getLogger("rpcb_trio")

ConnectionT = TypeVar("ConnectionT")


class Backoff:
    """Exponential waits with full jitter, so that a fleet does not return in step.

    They begin anew after a session that lasted, not after one that merely opened: a broker that accepts
    connections only to drop them must not be hammered.

    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Args:
        first: seconds, the longest wait before the first retry; None for `FIRST_RETRY`.
        last: seconds, the longest wait before any; None for `LAST_RETRY`.
    """

    def __init__(self, first: float | None = None, last: float | None = None) -> None:
        self._first = FIRST_RETRY if first is None else first
        self._last = LAST_RETRY if last is None else last
        self._attempts = 0

    def after(self, lived: float) -> float:
        """Seconds to wait after a session that lived so many; 0 or less for one that never opened."""
        if lived >= LASTING:
            self._attempts = 0
        longest = min(self._last, self._first * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return random.uniform(0, longest)  # noqa: S311 - not a secret

    async def wait(self) -> None:
        """Wait before another attempt at what failed at once."""
        await anyio.sleep(self.after(0))


class Lost(NamedTuple):
    """A connection that was lost, or an attempt at one that failed."""

    error: BrokerError
    failed: int
    """How many attempts in a row have failed; 0 where the connection had been open."""
    retry_in: float
    """Seconds until the next attempt."""


class ConnectionObserver(Protocol):
    """Sees what becomes of a kept connection."""

    def opened(self) -> None:
        """A connection is open; the first one, or a later one."""
        ...

    def lost(self, lost: Lost) -> None:
        """There is no connection; never called before the first one was open."""
        ...


async def keep_connected(
    open_one: Callable[[], AbstractAsyncContextManager[ConnectionT]],
    use: Callable[[ConnectionT], Awaitable[None]],
    observer: ConnectionObserver,
) -> None:
    """Use one connection after another, until `use` returns.

    To stop it earlier, cancel it.

    Raises:
        BrokerError: the first connection could not be opened.
    """
    backoff, has_opened, failed = Backoff(), False, 0
    while True:
        opened_at: float | None = None
        try:
            async with open_one() as connection:
                opened_at, has_opened = anyio.current_time(), True
                observer.opened()
                await use(connection)
                return
        except* BrokerError as group:
            error = first_leaf(group)
        if not has_opened:
            raise error
        failed = failed + 1 if opened_at is None else 0
        retry_in = backoff.after(0 if opened_at is None else anyio.current_time() - opened_at)
        observer.lost(Lost(error, failed, retry_in))
        await anyio.sleep(retry_in)


class ConnectionLog:
    """Logs once that a connection is lost, and once that it is back.

    Args:
        owner: how these lines begin.
        started: called once, when the first connection is open.
    """

    def __init__(self, owner: str, started: Callable[[], None]) -> None:
        self._owner = owner
        self._started: Callable[[], None] | None = started
        self._lost_at: float | None = None

    def opened(self) -> None:
        """See `ConnectionObserver`."""
        if self._started is not None:
            self._started()
            self._started = None
        if self._lost_at is not None:
            log.info("%s: connected again after %.1f s", self._owner, anyio.current_time() - self._lost_at)
            self._lost_at = None

    def lost(self, lost: Lost) -> None:
        """See `ConnectionObserver`."""
        if self._lost_at is None:
            self._lost_at = anyio.current_time()
            log.warning("%s: the connection is lost (%s); reconnecting with backoff", self._owner, lost.error)
