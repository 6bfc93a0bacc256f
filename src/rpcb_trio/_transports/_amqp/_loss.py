"""How all who use a session learn that it has ended, and why."""

from __future__ import annotations

from typing import NoReturn

import trio

from rpcb_trio._errors import SessionLost


class Loss:
    """The first reason why a session ended."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._happened = trio.Event()

    def report(self, reason: str) -> None:
        """Say why the session has ended; later reasons are only consequences and are dropped."""
        if self.reason is None:
            self.reason = reason
            self._happened.set()

    async def watch(self) -> NoReturn:
        """Wait for the first reason.

        Raises:
            SessionLost: with it.
        """
        await self._happened.wait()
        raise SessionLost(self.reason)
