"""Where `call` and `load` send their requests: a queue, or an exchange and a routing key."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Group

from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio.errors import SettingError

DESTINATION = Group("Destination", sort_key=-2)

# Flags, not settings: the file's exchange is the one that a worker binds its queue to.
Exchange = Annotated[
    str,
    flag(DESTINATION, "The exchange to publish to, instead of the queue.", "NAME", shown=False),
]
RoutingKey = Annotated[str | None, flag(DESTINATION, "As bound at the exchange.", "KEY", shown=False)]


def route(queue: str, exchange: str, routing_key: str | None) -> dict[str, Any]:
    """As `RpcClient.call` takes it.

    Raises:
        SettingError: there is neither.
    """
    if exchange or routing_key is not None:
        return {"exchange": exchange, "routing_key": routing_key or ""}
    if queue:
        return {"queue": queue}
    raise SettingError("queue is missing; give --queue, RPCB_QUEUE, queue in rpcb.toml, or --exchange")
