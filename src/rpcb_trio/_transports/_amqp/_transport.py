"""The way to RabbitMQ."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rpcb_trio._errors import SettingError
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._caller import AmqpCaller
from rpcb_trio._transports._amqp._connection import Link, dial
from rpcb_trio._transports._amqp._examination import Examination
from rpcb_trio._transports._amqp._loop import AioLoop, open_loop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._outbox import Outbox
from rpcb_trio._transports._amqp._session import AmqpSession
from rpcb_trio._transports._amqp._topology import check, declare
from rpcb_trio._transports._amqp._requesters import Requesters
from rpcb_trio._transports._amqp._url import parse_url
from rpcb_trio._transports._bounds import LARGEST_PREFETCH
from rpcb_trio._transports._protocol import Topology


class AmqpTransport:
    """A way to RabbitMQ.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. What aiormq understands after the
            `?` holds: `cafile`, `capath`, `cadata`, `certfile`, `keyfile`, `no_verify_ssl`, `auth`,
            `heartbeat`, `name`.
        heartbeat: how often, in seconds, each side shows that it lives; a dead connection is noticed within
            three of them and 3 s. The URL's own wins.
        connect_timeout: how long, in seconds, a broker may take to let us in.
        name: what the broker's management page shows; each connection's role is appended. The URL's own wins.

    Raises:
        SettingError: the URL or a number can't be right for any broker.
    """

    def __init__(
        self, url: str, *, heartbeat: int = 15, connect_timeout: float = 10.0, name: str | None = None
    ) -> None:
        if not connect_timeout > 0:
            raise SettingError(f"connect_timeout is in seconds, and more than 0, not {connect_timeout!r}")
        self._address = parse_url(url, heartbeat=heartbeat)
        self._connect_timeout = connect_timeout
        self._name = self._address.name or name or "rpcb_trio"

    def __repr__(self) -> str:
        return f"AmqpTransport({str(self._address)!r})"

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[AmqpSession]:
        """Consume a queue (see `Transport`)."""
        if not 1 <= prefetch <= LARGEST_PREFETCH:
            raise SettingError(f"prefetch is 1 to {LARGEST_PREFETCH}, not {prefetch}")
        check(topology)
        loss = Loss()
        async with open_loop(loss) as loop, self._link(loop, "in") as link:
            link.on_close(loss.report)
            await loop.call(declare, link, topology)
            blockage = Blockage()

            async def dial_out() -> Link:
                return blockage.watch(await self._dial(loop, "out"))

            outbox = Outbox(loop, loss, dial_out)
            requesters = Requesters(loop, lambda: self._dial(loop, "check"))
            session = AmqpSession(
                loop, loss, outbox, blockage, requesters, topology=topology, prefetch=prefetch
            )
            try:
                session.max_reply_size = (await outbox.open()).link.largest_message
                await loop.call(session.consume, link)
                yield session
            finally:
                session.close()
                await outbox.close()

    @asynccontextmanager
    async def open_examination(self, topology: Topology) -> AsyncIterator[Examination]:
        """Connect to look whether a session would open there; nothing is changed.

        Raises:
            LoginRefused, SessionLost, SettingError: as `open_session`.
        """
        check(topology)
        loss = Loss()
        async with open_loop(loss) as loop, self._link(loop, "examination") as link:
            link.on_close(loss.report)
            yield Examination(loop, link, self._address)

                await requesters.close()
    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[AmqpCaller]:
        """Call over direct reply-to (see `Transport`)."""
        loss = Loss()
        async with open_loop(loss) as loop, self._link(loop, "caller") as link:
            link.on_close(loss.report)
            caller = AmqpCaller(loop, loss)
            try:
                await loop.call(caller.listen, link)
                yield caller
            finally:
                caller.close()

    @asynccontextmanager
    async def _link(self, loop: AioLoop, role: str) -> AsyncIterator[Link]:
        link = await self._dial(loop, role)
        try:
            yield link
        finally:
            await link.close()

    async def _dial(self, loop: AioLoop, role: str) -> Link:
        name = f"{self._name} ({role})"
        return await dial(loop, self._address, name=name, connect_timeout=self._connect_timeout)
