"""The way to RabbitMQ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from weakref import WeakSet

from anyio.abc import TaskGroup

from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports._amqp._caller import AmqpCaller
from rpcb_trio._transports._amqp._control._loop import AioLoop, open_any_loop
from rpcb_trio._transports._amqp._data._connection import Connection, dial
from rpcb_trio._transports._amqp._examination import Examination
from rpcb_trio._transports._amqp._notices import AmqpPublisher, AmqpSubscriber
from rpcb_trio._transports._amqp._session._blockage import Blockage
from rpcb_trio._transports._amqp._session._direct_callers import DirectCallers
from rpcb_trio._transports._amqp._session._outbox import Outbox
from rpcb_trio._transports._amqp._session._rights import Rights
from rpcb_trio._transports._amqp._session._session import AmqpSession
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._amqp._source import UrlSource
from rpcb_trio._transports._amqp._topology import declare, warn_of_its_end
from rpcb_trio._transports._topology import Topology, check_prefetch
from rpcb_trio.errors import SessionLost, SettingError


class AmqpTransport:
    """A way to RabbitMQ.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. After a `?` may come `cafile`,
            `capath`, `cadata` (DER in base64), `certfile`, `keyfile`, `no_verify_ssl`, `auth`, `heartbeat`,
            `name`. Or a function that returns it, for passwords and tokens that change: it may block, and is
            asked before each connection and every `refresh` seconds.
        heartbeat: how often, in seconds, each side sends a sign of life; a dead connection is noticed within
            three of them and 3 s. The URL's own wins.
        connect_timeout: how long, in seconds, connecting and logging in may take.
        name: what the broker's management page shows; each connection's role is appended. The URL's own wins.
        refresh: how often, in seconds, a function for `url` is asked. A password that has changed is renewed
            on the connections that are open (`connection.update-secret`).

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
        self._examined = set[str]()
        """Queues of which `warn_of_its_end` was called, once for all sessions."""
        self._rights = Rights()
        self._connections: WeakSet[Connection] = WeakSet()

    def __repr__(self) -> str:
        return f"AmqpTransport({str(self._source.address)!r})"

    @property
    def server(self) -> tuple[str, int]:
        """Host and port of the broker."""
        return self._source.address.host, self._source.address.port

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[AmqpSession]:
        """Consume a queue (see `Transport`)."""
        check_prefetch(prefetch)
        async with self._connected("in") as (connection, end, dial_as):
            await declare(connection, topology)
            if topology.queue not in self._examined:
                self._examined.add(topology.queue)
                await warn_of_its_end(connection, topology)
            blockage = Blockage()

            async def dial_out() -> Connection:
                return blockage.watch(await dial_as("out"))

            await self._rights.verify(connection)
            if topology.dead_letter_exchange is not None:
                self._rights.claim(topology.dead_letter_exchange)
            outbox = Outbox(end, dial_out, blockage, self._rights)
            callers = DirectCallers(lambda: dial_as("check"))
            session = AmqpSession(end, outbox, blockage, callers, topology=topology, prefetch=prefetch)
            try:
                session.max_reply_size = (await outbox.open()).connection.largest_message
                await session.consume(connection)
                try:
                    yield session
                finally:
                    if end.reason is not None:
                        session.requeue_all()
            finally:
                session.close()
                await callers.close()
                await outbox.close()

    @asynccontextmanager
    async def open_examination(self) -> AsyncIterator[Examination]:
        """Connect to look whether a session would open there; nothing is changed.

        Raises:
            LoginRefused, SessionLost, SettingError: as `open_session`.
        """
        async with self._connected("examination") as (connection, _, dial_as):
            yield Examination(connection, self._source.address, dial_as)

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[AmqpCaller]:
        """Call over direct reply-to, under trio or asyncio (see `Transport`)."""
        async with self._connected("caller") as (connection, end, _):
            caller = AmqpCaller(end)
            await caller.listen(connection)
            yield caller

    @asynccontextmanager
    async def open_publisher(self, exchange: str) -> AsyncIterator[AmqpPublisher]:
        """Publish notices (see `Transport`)."""
        async with self._connected("events") as (connection, _, _):
            publisher = AmqpPublisher(exchange)
            await publisher.open(connection)
            yield publisher

    @asynccontextmanager
    async def open_subscriber(self, exchange: str) -> AsyncIterator[AmqpSubscriber]:
        """Listen to notices (see `Transport`)."""
        async with self._connected("watch") as (connection, end, _):
            subscriber = AmqpSubscriber(end)
            try:
                await subscriber.listen(connection, exchange)
                yield subscriber
            finally:
                subscriber.close()

    @asynccontextmanager
    async def _connected(
        self, role: str
    ) -> AsyncIterator[tuple[Connection, SessionEnd, Callable[[str], Awaitable[Connection]]]]:
        """A connection, why it ends, and a way to open others, to be closed before this is left."""
        end = SessionEnd()
        async with open_any_loop(end) as loop, open_serving_nursery() as tasks:
            if self._source.changes:
                tasks.start_soon(self._source.renew, self._connections, self._refresh)
            dial_as = partial(self._dial, tasks, loop)
            try:
                async with aclosing(await dial_as(role)) as connection:
                    connection.on_close(end.report)
                    yield connection, end, dial_as
            finally:
                tasks.cancel_scope.cancel()

    async def _dial(self, tasks: TaskGroup, loop: AioLoop, role: str) -> Connection:
        try:
            address = await self._source.fresh()
            name = f"{address.name or self._name} ({role})"
            connection = await dial(tasks, loop, address, name=name, connect_timeout=self._connect_timeout)
        except SettingError as exc:
            if not self._has_connected:
                raise
            raise SessionLost(str(exc)) from exc  # it was right once; a file may come back
        self._has_connected = True
        self._connections.add(connection)
        return connection
