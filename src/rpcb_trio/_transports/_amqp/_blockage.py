"""Which publishing connections the broker has blocked, told as one state.

A broker short of memory or disk stops reading from a connection once it publishes, and says so with AMQP's
`connection.blocked` (https://www.rabbitmq.com/docs/connection-blocked). Consuming and acking go on.
"""

from __future__ import annotations

import math
from contextlib import suppress

import trio

from rpcb_trio._transports._amqp._connection import Connection


class Blockage:
    """Tells the changes on a channel: the broker's reason once a connection is blocked, None once none is."""

    def __init__(self) -> None:
        # One for each change, and only the broker's alarms make any.
        self._tell, self.changes = trio.open_memory_channel[str | None](math.inf)
        self._blocked: set[Connection] = set()

    def watch(self, connection: Connection) -> Connection:
        """Take a connection into account, until it closes."""
        connection.on_blocked(lambda reason: self._change(connection, reason))
        connection.on_close(lambda _: self._change(connection, None))
        return connection

    def close(self) -> None:
        """End `changes`."""
        self._tell.close()

    def _change(self, connection: Connection, reason: str | None) -> None:
        before = bool(self._blocked)
        if reason is None:
            self._blocked.discard(connection)
        else:
            self._blocked.add(connection)
        if bool(self._blocked) != before:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the session is over
                self._tell.send_nowait(reason)
