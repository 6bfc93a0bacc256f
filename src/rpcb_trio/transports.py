"""Ways to a broker: the topology of queues, the embedded broker, the protocol for a transport of your own.

`rpcb_trio.amqp` has the way to RabbitMQ.
"""

from rpcb_trio._messages import Outgoing
from rpcb_trio._public import publish
from rpcb_trio._transports import (
    CallerSession,
    Inbox,
    Inboxes,
    MemoryBroker,
    NoticeTransport,
    Session,
    Topology,
    Transport,
)

__all__ = [
    "CallerSession",
    "Inbox",
    "Inboxes",
    "MemoryBroker",
    "NoticeTransport",
    "Outgoing",
    "Session",
    "Topology",
    "Transport",
]

publish(__name__)
