"""Whether the broker takes replies, as one state.

A broker short of memory or disk stops reading from a connection once it publishes, and says so with AMQP's
`connection.blocked` (https://www.rabbitmq.com/docs/connection-blocked). Consuming and acking go on. One that
just confirms nothing any more says nothing; that counts as a blockage all the same.
"""

from __future__ import annotations

import math
from contextlib import suppress

import trio

from rpcb_trio._transports._amqp._data._connection import Connection


class Blockage:
    """Sends the changes on a channel: the reason once no replies are taken, None once they are."""

    def __init__(self) -> None:
        # One for each change, and only the broker's alarms and stalls make any.
        self._send, self.changes = trio.open_memory_channel[str | None](math.inf)
        self._blocked: set[Connection] = set()
        self._is_stalled = False
        self._alarm_is_over = trio.Event()

    @property
    def is_alarm(self) -> bool:
        """Whether the broker has blocked a connection."""
        return bool(self._blocked)

    async def alarm_is_over(self) -> None:
        """Wait until it has blocked none any more."""
        while self._blocked:
            await self._alarm_is_over.wait()

    def watch(self, connection: Connection) -> Connection:
        """Take a connection into account, until it closes."""
        connection.on_blocked(lambda reason: self._change(connection, reason))
        connection.on_close(lambda _: self._change(connection, None))
        return connection

    def stall(self, reason: str | None) -> None:
        """The broker confirms no replies, for a reason; None where it does again."""
        before = self._is_blocked
        self._is_stalled = reason is not None
        self._send_if_changed(before, reason)

    def close(self) -> None:
        self._send.close()

    @property
    def _is_blocked(self) -> bool:
        return bool(self._blocked) or self._is_stalled

    def _change(self, connection: Connection, reason: str | None) -> None:
        before = self._is_blocked
        if reason is not None:
            self._blocked.add(connection)
        else:
            self._blocked.discard(connection)
            if not self._blocked:
                self._alarm_is_over.set()
                self._alarm_is_over = trio.Event()
        self._send_if_changed(before, reason)

    def _send_if_changed(self, before: bool, reason: str | None) -> None:  # noqa: FBT001 - the state before
        if self._is_blocked != before:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the session is over
                self._send.send_nowait(reason)
