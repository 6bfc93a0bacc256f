"""Declaring where a worker's requests come from, and what the broker's refusals mean."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._data._closing import (
    ACCESS_REFUSED,
    NOT_FOUND,
    RESOURCE_LOCKED,
    ChannelRefused,
)
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._topology import CANCELS, DIFFERENT, MISSING, RESERVED, Topology
from rpcb_trio.errors import BrokerError, SessionLost, SettingError, TopologyMismatch

_log = logging.getLogger(__name__)

MAY_NOT_DECLARE = "the user may not; grant it, or use declare=passive if it exists"
MAY_NOT_READ = "the user may not read it; grant that"
MAY_NOT_LOOK = (
    "the user has no right to it, so the broker does not tell whether it exists; grant the user what it "
    "needs there, and create it if it does not exist"
)
"""From RabbitMQ 4.3 on; older ones let everybody look."""

DIFFERENCE = re.compile(r"inequivalent arg '([^']+)'.* current is (?:the value )?'([^']*)'")
"""How RabbitMQ names the first difference to a queue that exists, and what it has there."""

AUTO_DELETE = (
    "it is auto-delete: when its last consumer leaves, as in a drain or with a lost connection, it goes with "
    "all that waits in it"
)
EXPIRES = "it has x-expires: when nobody has consumed it for {} ms, it goes with all that waits in it"


async def declare(connection: Connection, topology: Topology) -> None:
    """Create or check the queue, its exchanges and its bindings, as `topology.declare` says.

    Raises:
        TopologyMismatch: the broker has them differently, or will not let us.
        SettingError: they can't be so on this broker.
    """
    if topology.declare == "never":
        return
    passive = topology.declare == "passive"
    if topology.exchange:
        # The broker's own exchanges may not be declared, only checked.
        checked = passive or topology.exchange.startswith(RESERVED)
        async with _declaring(connection, f"exchange {topology.exchange!r}", passive=checked) as channel:
            await channel.declare_exchange(
                topology.exchange, topology.exchange_type, passive=checked, durable=topology.durable
            )
    if topology.cancel:
        await declare_cancels(connection, passive=passive)
    if topology.dead_letter_exchange:
        await _declare_dead_letter_exchange(connection, topology, topology.dead_letter_exchange)
    async with _declaring(connection, f"queue {topology.queue!r}", passive=passive) as channel:
        await channel.declare_queue(
            topology.queue, passive=passive, durable=topology.durable, arguments=topology.queue_arguments
        )
    if topology.exchange and not passive:
        what = f"binding of queue {topology.queue!r} to {topology.exchange!r}"
        async with _declaring(connection, what) as channel:
            for key in topology.binding_keys:
                await channel.bind_queue(topology.queue, topology.exchange, key)


async def declare_cancels(connection: Connection, *, passive: bool = False) -> None:
    """Find the exchange of cancels, or create it.

    Raises:
        TopologyMismatch: it can't be had.
    """
    what = f"cancel: exchange {CANCELS!r}"
    await _find_or_create(connection, what, CANCELS, "direct", durable=True, passive=passive)


async def _declare_dead_letter_exchange(connection: Connection, topology: Topology, name: str) -> None:
    """Any type will do if it is there; if not, a topic exchange can stand in for all of them."""
    passive = topology.declare == "passive"
    if await _find_or_create(
        connection,
        f"dead-letter exchange {name!r}",
        name,
        "topic",
        durable=topology.durable,
        passive=passive,
    ):
        _log.warning(
            "queue %s: the dead-letter exchange %r is new, so no queue is bound to it; bind one, or what "
            "can't be answered is dropped",
            topology.queue,
            name,
        )


async def _find_or_create(
    connection: Connection, what: str, name: str, kind: str, *, durable: bool, passive: bool
) -> bool:
    """Whether an exchange was created, since it was not there; whatever its type, if it was."""
    try:
        async with _declaring(connection, what, passive=True) as channel:
            await channel.declare_exchange(name, passive=True)
    except TopologyMismatch as exc:
        is_missing = isinstance(exc.__cause__, ChannelRefused) and exc.__cause__.code == NOT_FOUND
        if passive or not is_missing:
            raise
    else:
        return False
    async with _declaring(connection, what) as channel:
        await channel.declare_exchange(name, kind, durable=durable)
    return True


async def warn_of_its_end(connection: Connection, topology: Topology) -> None:
    """Warn where the queue goes with all that waits in it once no worker consumes it."""
    if topology.declare == "active":  # it is as the arguments say, or was refused
        given = topology.arguments.get("x-expires")
        ends = None if given is None else EXPIRES.format(given)
    else:
        ends = await how_it_ends(connection, topology.queue)
    if ends is not None:
        _log.warning("queue %s: %s", topology.queue, ends)


async def how_it_ends(connection: Connection, queue: str) -> str | None:
    """How a queue goes with all that waits in it, in words; None where it stays, or the broker does not say.

    A passive declare does not answer that. So the queue is declared with an argument that no broker grants:
    if it is there, RabbitMQ names the first difference to it, in the order durable, auto_delete, x-expires,
    others.
    """
    for durable in (True, False):
        try:
            async with connection.throwaway_channel() as channel:
                await channel.declare_queue(queue, durable=durable, arguments={"x-max-length": -1})
        except ChannelRefused as exc:
            found = DIFFERENCE.search(str(exc))
        else:  # a broker that grants it
            return None
        match found and found.groups():
            case ("durable", _):
                continue
            case ("auto_delete", "true"):
                return AUTO_DELETE
            case ("x-expires", milliseconds):
                return EXPIRES.format(milliseconds)
            case _:
                return None
    return None


@asynccontextmanager
async def _declaring(
    connection: Connection, what: str, *, passive: bool = False
) -> AsyncIterator[ControlChannel]:
    """A channel for `what`, whose refusals are explained."""
    with explaining_refusals(what, MAY_NOT_LOOK if passive else MAY_NOT_DECLARE):
        async with connection.throwaway_channel() as channel:
            yield channel


@contextmanager
def explaining_refusals(what: str, forbidden: str = MAY_NOT_READ) -> Iterator[None]:
    """Turn the broker's refusals about `what` into ours; `forbidden` says what a lack of rights means."""
    try:
        yield
    except ChannelRefused as exc:
        raise _explained(what, exc, forbidden) from exc
    except (ValueError, TypeError) as exc:  # the codec's, before anything is sent
        raise SettingError(f"{what} can't be put into AMQP: {exc}") from exc


def _explained(what: str, refusal: ChannelRefused, forbidden: str) -> BrokerError:
    said = str(refusal)
    differing = re.search(r"inequivalent arg '([^']+)'", said)
    if "down or inaccessible" in said:  # its node may come back
        return SessionLost(said)
    if differing and differing[1] in {"auto_delete", "exclusive"}:
        remedy = f"it exists with another {differing[1]}; delete it, or use declare=passive"
    elif differing:
        remedy = DIFFERENT.format(differing[1])
        if differing[1].startswith("x-dead-letter"):
            remedy += f"; queue_argument {differing[1]}=... sets it"
    elif refusal.code == NOT_FOUND:
        remedy = MISSING
    elif "in exclusive use" in said:
        remedy = "another consumer has it for itself; end that, or use another queue"
    elif refusal.code == ACCESS_REFUSED:
        remedy = forbidden
    elif refusal.code == RESOURCE_LOCKED:
        remedy = "another connection has it for itself; use another name"
    else:
        remedy = "the broker will not have it so"
    return TopologyMismatch(f"{what}: {remedy} ({said})")
