"""The way to RabbitMQ, or any other AMQP 0-9-1 broker with its extensions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rpcb_trio._transports._amqp._caller import AmqpCaller
from rpcb_trio._transports._amqp._connection import Link, dial
from rpcb_trio._transports._amqp._loop import AioLoop, open_loop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._session import AmqpSession
from rpcb_trio._transports._amqp._topology import declare
from rpcb_trio._transports._amqp._url import parse_url
from rpcb_trio._transports._protocol import Topology


class AmqpTransport:
    """Connects to the broker that `url` names."""

    def __init__(
        self, url: str, *, heartbeat: int = 15, connect_timeout: float = 10.0, name: str | None = None
    ) -> None:
        self._address = parse_url(url, heartbeat=heartbeat)
        self._connect_timeout = connect_timeout
        self._name = name

    def __repr__(self) -> str:
        return f"AmqpTransport({str(self._address)!r})"

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[AmqpSession]:
        loss = Loss()
        async with (
            open_loop(loss) as loop,
            self._link(loop, "in") as link_in,
            self._link(loop, "out") as link_out,
        ):
            link_in.on_close(loss.report)
            session = AmqpSession(loop, loss, prefetch)

            async def declared():
                await declare(await link_in.channel(confirms=False), topology)

            await loop.call(declared)
            await loop.call(session.start, link_in, link_out, topology.queue, prefetch)
            yield session

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[AmqpCaller]:
        loss = Loss()
        async with open_loop(loss) as loop, self._link(loop, "caller") as link:
            link.on_close(loss.report)
            caller = AmqpCaller(loop, loss)
            await loop.call(caller.start, link)
            yield caller

    @asynccontextmanager
    async def _link(self, loop: AioLoop, role: str) -> AsyncIterator[Link]:
        name = f"{self._name or self._address.name or 'rpcb_trio'} ({role})"
        link = await dial(loop, self._address, name=name, connect_timeout=self._connect_timeout)
        try:
            yield link
        finally:
            await link.close()
