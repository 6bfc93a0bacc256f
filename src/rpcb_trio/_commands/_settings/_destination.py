"""Where `call` and `load` send their requests: a queue, or an exchange and a routing key."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Group, Parameter

from rpcb_trio._errors import SettingError

DESTINATION = Group("Destination", sort_key=-2)


def _option(text: str, metavar: str, **more: Any) -> Parameter:
    return Parameter(group=DESTINATION, help=text, metavar=metavar, show_default=False, **more)


# No fields of a dataclass: of these, only the queue may come from the file of settings.
Queue = Annotated[str, _option("The worker's queue.", "NAME", env_var="RPCB_QUEUE")]
Exchange = Annotated[str, _option("Or: the exchange to publish to; the queue is then not used.", "NAME")]
RoutingKey = Annotated[str | None, _option("As bound at the exchange.", "KEY")]


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
