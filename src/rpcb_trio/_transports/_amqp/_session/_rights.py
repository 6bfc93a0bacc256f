"""Where a worker may publish: what it learned of its own rights, from one session to the next.

A right that is taken from a running worker shows when a reply is refused. The session ends over it, and none
is opened until the broker lets us publish there again: to consume in the meantime would only count deliveries
up to the delivery limit of a quorum queue.
"""

from __future__ import annotations

from typing import TypeAlias

from rpcb_trio._transports._amqp._data._closing import (
    DEFAULT_EXCHANGE,
    NOT_FOUND,
    ChannelRefused,
    refused_exchange,
    refused_topic,
)
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._codec._frame_writer import publish
from rpcb_trio._transports._codec._properties import Properties
from rpcb_trio.errors import SessionLost

Place: TypeAlias = tuple[str, str | None]
"""An exchange, and a routing key there; None for whatever key."""

MOST_KNOWN = 1024
"""Places that are remembered; a `reply_to` may name any."""


class Rights:
    """The exchanges that a worker could publish to, and those that it may not any more.

    One that a request's `reply_to` names, and that never took a message, says nothing of the worker.
    """

    def __init__(self) -> None:
        self._own = {""}
        """The default exchange, and those that settings name."""
        self._passed = dict[Place, None]()
        self._lacking = dict[Place, str]()
        """What the broker said, by place."""

    def claim(self, exchange: str) -> None:
        """Take an exchange for one that this worker has to publish to, whatever a request says."""
        self._own.add(exchange)

    def note_passed(self, exchange: str, routing_key: str) -> None:
        for place in (exchange, None), (exchange, routing_key):
            self._passed[place] = None
        while len(self._passed) > MOST_KNOWN:
            del self._passed[next(iter(self._passed))]

    def lacks(self, said: str) -> str | None:
        """What the worker lacks, in one line with the remedy; None where it is not about the worker."""
        exchange = refused_exchange(said)
        place: Place | None = refused_topic(said) if exchange is None else (exchange, None)
        if place is None or (exchange not in self._own and place not in self._passed):
            return None
        self._lacking[place] = said
        return _remedy(place[0], said)

    async def verify(self, connection: Connection) -> None:
        """See whether what was lacking is granted by now.

        Raises:
            SessionLost: it is not, or the connection is gone.
        """
        for place in [*self._lacking]:
            exchange, routing_key = place
            try:
                await try_to_publish(connection, exchange, routing_key)
            except ChannelRefused as exc:
                if exc.code != NOT_FOUND:  # else it was deleted: a matter of the requests that name it
                    raise SessionLost(_remedy(exchange, str(exc))) from exc
            del self._lacking[place]


async def try_to_publish(connection: Connection, exchange: str, routing_key: str | None = None) -> None:
    """Publish, and take it back: the broker checks the right only then, and no consumer gets it.

    Raises:
        ChannelRefused: the broker refuses.
        SessionLost: the connection is gone.
    """
    async with connection.throwaway_channel() as channel:
        await channel.select_transactions()
        key = routing_key or "worker"
        message = publish(
            channel.number, exchange, key, Properties(), b"", mandatory=False, frame_max=connection.frame_max
        )
        connection.wire.write(message)
        await channel.roll_back()


def _remedy(exchange: str, said: str) -> str:
    name = exchange or DEFAULT_EXCHANGE
    return f"the user may not publish to exchange {name!r}; grant write on it ({said})"
