"""The way to RabbitMQ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakSet

from rpcb_trio._errors import SessionLost, SettingError
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._caller import AmqpCaller
from rpcb_trio._transports._amqp._connection import Link, dial
from rpcb_trio._transports._amqp._examination import Examination
from rpcb_trio._transports._amqp._loop import AioLoop, open_loop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._native import open_any_loop
from rpcb_trio._transports._amqp._notices import AmqpPublisher, AmqpSubscriber
from rpcb_trio._transports._amqp._outbox import Outbox
from rpcb_trio._transports._amqp._requesters import Requesters
from rpcb_trio._transports._amqp._session import AmqpSession
from rpcb_trio._transports._amqp._source import UrlSource
from rpcb_trio._transports._amqp._topology import check, declare
from rpcb_trio._transports._bounds import LARGEST_PREFETCH
from rpcb_trio._transports._protocol import Topology


class AmqpTransport:
    """A way to RabbitMQ.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. After a `?` may come `cafile`,
            `capath`, `cadata` (DER in base64), `certfile`, `keyfile`, `no_verify_ssl`, `auth`, `heartbeat`,
            `name`. Or a function that returns it, for passwords and tokens that change: it may block, and is
            asked before each connection and every `refresh` seconds.
        heartbeat: how often, in seconds, each side shows that it lives; a dead connection is noticed within
            three of them and 3 s. The URL's own wins.
        connect_timeout: how long, in seconds, a broker may take to let us in.
        name: what the broker's management page shows; each connection's role is appended. The URL's own wins.
        refresh: how often, in seconds, a function for `url` is asked. A password that has changed is told to
            the broker on the connections that are open (`connection.update-secret`).

    Raises:
        SettingError: the URL or a number can't be right for any broker.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        *,
        heartbeat: int = 15,
        connect_timeout: float = 10.0,
        name: str | None = None,
        refresh: float = 30.0,
    ) -> None:
        for what, seconds in (("connect_timeout", connect_timeout), ("refresh", refresh)):
            if not seconds > 0:
                raise SettingError(f"{what} is in seconds, and more than 0, not {seconds!r}")
        self._source = UrlSource(url, heartbeat=heartbeat)
        self._connect_timeout = connect_timeout
        self._name = name or "rpcb_trio"
        self._refresh = refresh
        self._has_connected = False
        self._links: WeakSet[Link] = WeakSet()

    def __repr__(self) -> str:
        return f"AmqpTransport({str(self._source.address)!r})"

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[AmqpSession]:
        """Consume a queue (see `Transport`)."""
        if not 1 <= prefetch <= LARGEST_PREFETCH:
            raise SettingError(f"prefetch is 1 to {LARGEST_PREFETCH}, not {prefetch}")
        check(topology)
        loss = Loss()
        async with self._renewal(), open_loop(loss) as loop, self._link(loop, "in") as link:
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
                await requesters.close()
                await outbox.close()

    @asynccontextmanager
    async def open_examination(self, topology: Topology) -> AsyncIterator[Examination]:
        """Connect to look whether a session would open there; nothing is changed.

        Raises:
            LoginRefused, SessionLost, SettingError: as `open_session`.
        """
        check(topology)
        loss = Loss()
        async with self._renewal(), open_loop(loss) as loop, self._link(loop, "examination") as link:
            link.on_close(loss.report)
            yield Examination(loop, link, self._source.address)

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[AmqpCaller]:
        """Call over direct reply-to, under trio or asyncio (see `Transport`)."""
        loss = Loss()
        async with self._renewal(), open_any_loop(loss) as loop, self._link(loop, "caller") as link:
            link.on_close(loss.report)
            caller = AmqpCaller(loop, loss)
            await loop.call(caller.listen, link)
            yield caller

    @asynccontextmanager
    async def open_publisher(self, exchange: str) -> AsyncIterator[AmqpPublisher]:
        """Publish notices (see `Transport`)."""
        loss = Loss()
        async with self._renewal(), open_loop(loss) as loop, self._link(loop, "events") as link:
            link.on_close(loss.report)
            publisher = AmqpPublisher(loop, exchange)
            await loop.call(publisher.open, link)
            yield publisher

    @asynccontextmanager
    async def open_subscriber(self, exchange: str) -> AsyncIterator[AmqpSubscriber]:
        """Listen to notices (see `Transport`)."""
        loss = Loss()
        async with self._renewal(), open_any_loop(loss) as loop, self._link(loop, "watch") as link:
            link.on_close(loss.report)
            subscriber = AmqpSubscriber(loop, loss)
            try:
                await loop.call(subscriber.listen, link, exchange)
                yield subscriber
            finally:
                subscriber.close()

    @asynccontextmanager
    async def _link(self, loop: AioLoop, role: str) -> AsyncIterator[Link]:
        link = await self._dial(loop, role)
        try:
            yield link
        finally:
            await link.close()

    async def _dial(self, loop: AioLoop, role: str) -> Link:
        try:
            address = await self._source.fresh()
            name = f"{address.name or self._name} ({role})"
            link = await dial(loop, address, name=name, connect_timeout=self._connect_timeout)
        except SettingError as exc:
            if not self._has_connected:
                raise
            raise SessionLost(str(exc)) from exc  # it was right once; a file may come back
        self._has_connected = True
        self._links.add(link)
        return link

    @asynccontextmanager
    async def _renewal(self) -> AsyncIterator[None]:
        if not self._source.changes:
            yield
            return
        async with open_serving_nursery() as nursery:
            nursery.start_soon(self._source.renew, self._links, self._refresh)
            yield
            nursery.cancel_scope.cancel()
