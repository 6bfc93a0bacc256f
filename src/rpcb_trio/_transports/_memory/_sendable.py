"""What AMQP has no form for, and so the embedded broker does not take either."""

from __future__ import annotations

from rpcb_trio._messages import Outgoing
from rpcb_trio._transports._codec._properties import Properties, write_properties
from rpcb_trio._transports._codec._tables import Unsendable, short_string
from rpcb_trio.errors import SettingError


def check_sendable(request: Outgoing) -> None:
    """Refuse a request that no broker could be sent.

    Raises:
        SettingError: it is one.
    """
    properties = Properties(
        content_type=request.content_type, headers=request.headers or None, priority=request.priority
    )
    try:
        short_string(request.routing_key)
        write_properties(properties)
    except Unsendable as error:
        raise SettingError(f"the request can't be put into AMQP: {error}") from error
