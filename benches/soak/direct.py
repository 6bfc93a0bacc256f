"""Callers by `RpcClient`: direct reply-to, and a connection that is rebuilt when it is lost."""

from __future__ import annotations

import math
import random

import trio

from benches.soak.accounts import Accounts, Seen
from benches.soak.bodies import Kind, request_body
from benches.soak.course import Course
from benches.soak.endings import Mark
from benches.soak.mix import Mix
from rpcb_trio import ReplyTimeout, RpcClient, open_client
from rpcb_trio.errors import CallInterrupted, PublishRefused, Unroutable

CALLERS = 6
THINKING = 0.04
"""Seconds, on average, between a caller's reply and its next request."""


class DirectProducer:
    """Some callers that share a client.

    Args:
        url: of the broker.
        queue: the workers' queue.
        address: which producer it is.
        mix: says what to send.
        course: tells whether to go on.
    """

    def __init__(
        self, url: str, queue: str, address: int, *, accounts: Accounts, mix: Mix, course: Course
    ) -> None:
        self._url = url
        self._queue = queue
        self._address = address
        self._accounts = accounts
        self._mix = mix
        self._course = course

    async def run(self) -> None:
        """Call until sending is over and all is answered."""
        async with open_client(self._url) as client, trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(self._call_on, client)

    async def _call_on(self, client: RpcClient) -> None:
        while self._course.is_sending:
            await self._call(client, self._mix.kind())
            await trio.sleep(random.expovariate(1 / THINKING))

    async def _call(self, client: RpcClient, kind: Kind) -> None:
        number = self._accounts.send(kind, self._address)
        timeout = self._mix.lifetime() if kind is Kind.EXPIRING else math.inf
        try:
            reply = await client.call(request_body(number, kind), queue=self._queue, timeout=timeout)
        except ReplyTimeout:
            self._accounts.mark(number, Mark.EXPIRED)
        except CallInterrupted:
            self._accounts.mark(number, Mark.GONE)
        except (PublishRefused, Unroutable):
            self._accounts.mark(number, Mark.UNCONFIRMED)
        else:
            self._accounts.reply(
                Seen(body=reply.body, address=self._address, correlated=number, error=reply.error)
            )
