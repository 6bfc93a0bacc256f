"""Declaring where a worker's requests come from."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiormq import Channel
from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity

from rpcb_trio._errors import BrokerError, SessionLost, SettingError, TopologyMismatch
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._control import ControlChannel
from rpcb_trio._transports._amqp._lasting import EXPIRES, how_it_goes
from rpcb_trio._transports._amqp._methods import BindQueue, DeclareExchange, DeclareQueue
from rpcb_trio._transports._protocol import Topology

_log = logging.getLogger(__name__)

MATCH_WITHOUT_KEY = {"fanout", "headers"}
"""Types of exchanges that a queue is bound to even where no routing key is given."""

MAY_NOT_DECLARE = "the user may not; grant it, or use declare=passive if it exists"
MAY_NOT_READ = "the user may not read it; grant that"
MAY_NOT_LOOK = (
    "the user has no right to it, so the broker does not tell whether it exists; grant the user what it "
    "needs there, and create it if it does not exist"
)
"""From RabbitMQ 4.3 on; older ones let everybody look."""


async def declare(connection: Connection, topology: Topology) -> None:
    """Create or check the queue, its exchanges and its bindings, as `topology.declare` says.

    Raises:
        TopologyMismatch: the broker has them differently, or will not let us.
        SettingError: they can't be so on any broker.
    """
    if topology.declare == "never":
        return
    await _declare_exchange(connection, topology)
    await _declare_dead_letter_exchange(connection, topology)
    passive = topology.declare == "passive"
    async with _channel(connection, f"queue {topology.queue!r}", passive=passive) as channel:
        await channel.ask(
            Channel.rpc,
            DeclareQueue(
                queue=topology.queue,
                passive=passive,
                durable=topology.durable,
                arguments=queue_arguments(topology),
            ),
        )
    if topology.exchange and not passive:
        await _bind(connection, topology)


async def tell_of_its_end(connection: Connection, topology: Topology) -> None:
    """Warn where the queue goes with all that waits in it once no worker consumes it.

    Raises:
        SessionLost: the connection is gone.
    """
    if topology.declare == "active":  # it is as the arguments say, or was refused
        given = topology.arguments.get("x-expires")
        ends = None if given is None else EXPIRES.format(given)
    else:
        ends = await how_it_goes(connection, topology.queue)
    if ends is not None:
        _log.warning("queue %s: %s", topology.queue, ends)


def check(topology: Topology) -> None:
    """Refuse what no broker would take.

    Raises:
        SettingError: naming the setting.
    """
    if not topology.queue:
        raise SettingError("queue must not be empty")
    if topology.routing_keys and not topology.exchange:
        raise SettingError("routing_keys need an exchange; the default one delivers to a queue by its name")
    if topology.dead_letter_routing_key is not None and topology.dead_letter_exchange is None:
        raise SettingError("dead_letter_routing_key needs a dead_letter_exchange")
    if topology.dead_letter_exchange == "" and topology.dead_letter_routing_key in {None, topology.queue}:
        raise SettingError(
            "dead_letter_exchange is the default exchange, from where dead letters would come back to the "
            "queue; name another one with dead_letter_routing_key"
        )
    if topology.on_refused_reply not in {"dead-letter", "requeue"}:
        raise SettingError(
            f"on_refused_reply is {topology.on_refused_reply!r}; set it to dead-letter or to requeue"
        )
    if topology.arguments.get("x-queue-type") == "stream":
        raise SettingError(
            "queue_argument x-queue-type is stream, which delivers nothing again, so what is held when a "
            "connection breaks would be lost; use queue_type classic or quorum"
        )
    if _binds_nothing(topology):
        raise SettingError(
            f"exchange {topology.exchange!r} of type {topology.exchange_type} delivers nothing to the queue "
            "without routing_keys; give a routing_key, or use exchange_type fanout or headers, which need "
            "none, or declare=passive if the queue is bound already"
        )


def _binds_nothing(topology: Topology) -> bool:
    binds = bool(topology.exchange) and topology.declare == "active"
    return binds and not topology.routing_keys and topology.exchange_type not in MATCH_WITHOUT_KEY


async def _declare_exchange(connection: Connection, topology: Topology) -> None:
    if not topology.exchange:
        return
    # The broker's own exchanges may not be declared, only checked.
    passive = topology.declare == "passive" or topology.exchange.startswith("amq.")
    async with _channel(connection, f"exchange {topology.exchange!r}", passive=passive) as channel:
        await channel.ask(
            Channel.rpc,
            DeclareExchange(
                exchange=topology.exchange,
                exchange_type=topology.exchange_type,
                passive=passive,
                durable=topology.durable,
            ),
        )


async def _declare_dead_letter_exchange(connection: Connection, topology: Topology) -> None:
    """Any type will do if it is there; if not, a topic exchange can stand in for all of them."""
    name = topology.dead_letter_exchange
    if not name:
        return
    try:
        async with _channel(connection, f"dead-letter exchange {name!r}", passive=True) as channel:
            await channel.ask(Channel.rpc, DeclareExchange(exchange=name, passive=True))
    except TopologyMismatch as exc:
        if topology.declare == "passive" or not isinstance(exc.__cause__, ChannelNotFoundEntity):
            raise
        async with _channel(connection, f"dead-letter exchange {name!r}") as channel:
            await channel.ask(
                Channel.rpc,
                DeclareExchange(exchange=name, exchange_type="topic", durable=topology.durable),
            )
        _log.warning(
            "queue %s: the dead-letter exchange %r is new, so no queue is bound to it; bind one, or what "
            "can't be answered is dropped",
            topology.queue,
            name,
        )


async def _bind(connection: Connection, topology: Topology) -> None:
    keys = topology.routing_keys
    if not keys and topology.exchange_type in MATCH_WITHOUT_KEY:
        keys = ("",)
    async with _channel(
        connection, f"binding of queue {topology.queue!r} to {topology.exchange!r}"
    ) as channel:
        for key in keys:
            await channel.ask(
                Channel.rpc, BindQueue(queue=topology.queue, exchange=topology.exchange, routing_key=key)
            )


def queue_arguments(topology: Topology) -> dict[str, Any]:
    """What a queue is declared with.

    Nothing of its dead letters: the worker publishes them itself, and producers that declare the queue too
    would be refused over an argument that they don't know. Who wants it names it among the arguments.
    """
    arguments = dict(topology.arguments)
    # A classic queue has no type argument on older brokers; with one it would differ from the queues there.
    if topology.queue_type != "classic":
        arguments["x-queue-type"] = topology.queue_type
    return arguments


@asynccontextmanager
async def _channel(
    connection: Connection, what: str, *, passive: bool = False
) -> AsyncIterator[ControlChannel]:
    """A channel of its own for each thing, because a no from the broker closes the channel."""
    with told_by_topology(what, MAY_NOT_LOOK if passive else MAY_NOT_DECLARE):
        channel = await connection.channel()
        yield channel
        await channel.close()


@contextmanager
def told_by_topology(what: str, forbidden: str = MAY_NOT_READ) -> Iterator[None]:
    """Turn the broker's refusals about `what` into ours; `forbidden` says what a lack of rights means."""
    try:
        yield
    except ChannelClosed as exc:
        raise _refusal(what, describe(exc), forbidden) from exc
    except (ValueError, TypeError) as exc:  # the codec's, before anything is sent
        raise SettingError(f"{what} can't be put into AMQP: {exc}") from exc


def _refusal(what: str, said: str, forbidden: str) -> BrokerError:
    code, _, _ = said.partition(" ")
    differing = re.search(r"inequivalent arg '([^']+)'", said)
    if "down or inaccessible" in said:  # its node may come back
        return SessionLost(said)
    if differing and differing[1] in {"auto_delete", "exclusive"}:
        remedy = f"it exists with another {differing[1]}; delete it, or use declare=passive"
    elif differing:
        remedy = f"it exists with another {differing[1]}; set that so, or delete it, or use declare=passive"
        if differing[1].startswith("x-dead-letter"):
            remedy += f"; queue_argument {differing[1]}=... sets it"
    elif code == "NOT_FOUND":
        remedy = "it does not exist; create it, or use declare=active"
    elif "reserved prefix" in said:
        remedy = "names that begin with amq. are the broker's own; use another name"
    elif "in exclusive use" in said:
        remedy = "another consumer has it for itself; end that, or use another queue"
    elif code == "ACCESS_REFUSED":
        remedy = forbidden
    elif code == "RESOURCE_LOCKED":
        remedy = "another connection has it for itself; use another name"
    else:
        remedy = "the broker will not have it so"
    return TopologyMismatch(f"{what}: {remedy} ({said})")
