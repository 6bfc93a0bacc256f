"""Why a session has ended; all that use it learn of the first reason."""

from __future__ import annotations

import re
from typing import NoReturn

import anyio

from rpcb_trio.errors import SessionLost

ACK_TIMEOUT = re.compile(r"delivery acknowledgement on channel \d+ timed out\. Timeout value used: (\d+) ms")
"""How RabbitMQ says that a delivery was held too long."""


class SessionEnd:
    """The first reason why a session ended."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._happened = anyio.Event()

    def report(self, reason: str) -> None:
        """Say why the session has ended; later reasons are only consequences and are dropped."""
        if self.reason is None:
            self.reason = _with_remedy(reason)
            self._happened.set()

    async def watch(self) -> NoReturn:
        """Wait for the first reason.

        Raises:
            SessionLost: with it.
        """
        await self._happened.wait()
        raise SessionLost(self.reason)


def _with_remedy(reason: str) -> str:
    overdue = ACK_TIMEOUT.search(reason)
    if overdue is None:
        return reason
    return (
        f"a request was held for longer than the broker's consumer_timeout of {int(overdue[1]) / 1000:g} s; "
        "lower prefetch or max_batch_size, or raise consumer_timeout in rabbitmq.conf"
    )
