"""Declaring the queue that a worker's requests come from."""

from __future__ import annotations

from aiormq.abc import AbstractChannel

from rpcb_trio._transports._protocol import Topology


async def declare(channel: AbstractChannel, topology: Topology) -> None:
    """Declare queue, exchange and bindings; asyncio-flavoured."""
    arguments = dict(topology.arguments)
    if topology.queue_type == "quorum":
        arguments["x-queue-type"] = "quorum"
    await channel.queue_declare(topology.queue, durable=topology.durable, arguments=arguments)
    if topology.exchange:
        await channel.exchange_declare(topology.exchange, exchange_type=topology.exchange_type, durable=True)
        for key in topology.routing_keys:
            await channel.queue_bind(topology.queue, topology.exchange, key)
