"""Cancels: what a worker hears of them, and what a client sends.

A client sends them on the channel of their requests. Where these are answered over direct reply-to, the
broker writes the same address on both, which is a secret of that channel: nobody else can cancel them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from rpcb_trio._messages import CallId
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._consumption import Consumption
from rpcb_trio._transports._amqp._data._publications import Publication, PublishChannel
from rpcb_trio._transports._amqp._session._rights import try_to_publish
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._amqp._topology import declare_cancels, explaining_refusals
from rpcb_trio._transports._codec._frames import Delivery
from rpcb_trio._transports._codec._properties import TRANSIENT, Properties
from rpcb_trio._transports._topology import CANCELS, Topology

BUFFER = 4096
"""Cancels that may wait, at the broker and here."""

MAY_NOT_HEAR = (
    "the user may not hear cancels; grant read on it, and all rights on queues named amq.gen-..., or leave "
    "cancel out"
)
MAY_NOT_CANCEL = "the user may not publish there; grant write, or leave cancel out"


class Cancellations:
    """Hears of the requests that callers give up."""

    def __init__(self, end: SessionEnd) -> None:
        self._end = end
        self._put, self.calls = trio.open_memory_channel[CallId](BUFFER)

    async def listen(self, connection: Connection, topology: Topology) -> None:
        """Hear of those of a queue, from now on.

        Raises:
            TopologyMismatch: the exchange is not there, or the user may not.
        """
        consumption = await connection.data_channel(Consumption)
        consumption.take = self._take
        consumption.end = lambda why: self._end.report(why or "the broker ended the consumer of cancels")
        channel = consumption.control
        with explaining_refusals(f"cancel: exchange {CANCELS!r}", MAY_NOT_HEAR):
            # Its name is the broker's choice, and it goes with the connection.
            queue = await channel.declare_queue("", exclusive=True, arguments={"x-max-length": BUFFER})
            for key in topology.cancel_keys:
                await channel.bind_queue(queue.name, CANCELS, key)
            await channel.consume(queue.name, no_ack=True)

    def close(self) -> None:
        self._put.close()

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        with suppress(trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            for delivery in deliveries:
                properties = delivery.properties
                if properties is not None and properties.correlation_id is not None:
                    self._put.send_nowait(CallId(properties.reply_to or None, properties.correlation_id))


async def allow_cancels(connection: Connection) -> None:
    """See to it that a client may send some.

    Raises:
        TopologyMismatch: the exchange can't be had, or the user may not publish there.
    """
    await declare_cancels(connection)
    with explaining_refusals(f"cancel: exchange {CANCELS!r}", MAY_NOT_CANCEL):
        await try_to_publish(connection, CANCELS)


def send_cancel(channel: PublishChannel, call: CallId, key: str) -> None:
    """Send one, unless the broker reads nothing at the moment: it is best effort."""
    wire = channel.connection.wire
    if channel.is_open and wire.is_drained:
        properties = Properties(
            delivery_mode=TRANSIENT, correlation_id=call.correlation_id, reply_to=call.reply_to
        )
        channel.write(Publication(b"", properties, key, CANCELS, mandatory=False))
        wire.flush()
