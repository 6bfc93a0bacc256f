"""Whether a queue stays when nobody consumes it, asked without changing anything.

A passive declare tells nothing of it. So the queue is declared with an argument that no broker grants: if it
is there, RabbitMQ names the first difference to it, in the order durable, auto_delete, x-expires, others.
"""

from __future__ import annotations

import re

from aiormq import Channel
from aiormq.exceptions import ChannelClosed

from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._connection import Connection
from rpcb_trio._transports._amqp._methods import DeclareQueue

DIFFERENCE = re.compile(r"inequivalent arg '([^']+)'.* current is (?:the value )?'([^']*)'")


AUTO_DELETE = (
    "it is auto-delete: when its last consumer leaves, as in a drain or with a lost connection, it goes with "
    "all that waits in it"
)
EXPIRES = "it has x-expires: when nobody has consumed it for {} ms, it goes with all that waits in it"


async def how_it_goes(connection: Connection, queue: str) -> str | None:
    """How a queue goes with all that waits in it, in words; None where it stays, or we are not told.

    Raises:
        SessionLost: the connection is gone.
    """
    for durable in (True, False):
        channel = await connection.channel()
        impossible = DeclareQueue(queue=queue, durable=durable, arguments={"x-max-length": -1})
        try:
            await channel.ask(Channel.rpc, impossible)
        except ChannelClosed as exc:
            found = DIFFERENCE.search(describe(exc))
        else:  # a broker that grants it
            await channel.close()
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
