"""Whether a direct caller is still there, asked before its request is computed.

RabbitMQ answers a passive declare of a direct reply-to address as of a queue: with 404 if its caller is
gone. A forged address makes it close the whole connection, so this is done on one of its own, which never
publishes and therefore is never blocked either.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import trio

from rpcb_trio._messages import DIRECT_REPLY_TO, shown_address
from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._data._closing import NOT_FOUND, ChannelRefused
from rpcb_trio._transports._amqp._data._connection import ASK_SECONDS, Connection
from rpcb_trio.errors import BrokerError

_log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""How long a caller that was there is taken to be there still. One that is gone never comes back."""

MOST_KNOWN = 4096
"""Addresses that are remembered."""


class DirectCallers:
    """Which callers with a direct reply-to address are there; one of unknown state counts as there."""

    def __init__(self, dial: Callable[[], Awaitable[Connection]]) -> None:
        self._dial = dial
        self._connection: Connection | None = None
        self._channel: ControlChannel | None = None
        self._asking = trio.Lock()
        self._there_until: OrderedDict[str, float] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()

    async def has(self, reply_to: str) -> bool:
        """False where an address is known to lead nowhere any more."""
        if not reply_to.startswith(DIRECT_REPLY_TO):
            return True
        async with self._asking:  # the answer may be known once the lock is free
            if reply_to in self._gone:
                return False
            if self._there_until.get(reply_to, -math.inf) < trio.current_time():
                await self._find_out(reply_to)
            return reply_to not in self._gone

    async def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await connection.aclose()

    async def _find_out(self, reply_to: str) -> None:
        is_there = True
        try:
            with trio.fail_after(ASK_SECONDS):
                if self._connection is None:
                    self._connection = await self._dial()
                is_there = await self._ask(self._connection, reply_to)
        except (BrokerError, ChannelRefused, trio.TooSlowError) as exc:
            _log.warning(
                "it is not known whether the caller %s is still there: %s", shown_address(reply_to), exc
            )
            await self.close()
        if is_there:
            self._there_until[reply_to] = trio.current_time() + FRESH_SECONDS
        else:
            self._gone[reply_to] = None
        for known in (self._there_until, self._gone):
            while len(known) > MOST_KNOWN:
                known.popitem(last=False)

    async def _ask(self, connection: Connection, reply_to: str) -> bool:
        """On a channel that the answer no closes."""
        if self._channel is None or not self._channel.is_open:
            self._channel = await connection.channel()
        try:
            await self._channel.declare_queue(reply_to, passive=True)
        except ChannelRefused as exc:
            if exc.code != NOT_FOUND:
                raise
            return False
        return True
