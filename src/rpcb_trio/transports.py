"""Ways to a broker: the protocol, the topology of queues, and the embedded broker.

`rpcb_trio.amqp` has the way to RabbitMQ.
"""

from rpcb_trio._public import publish
from rpcb_trio._transports import MemoryBroker, NoticeTransport, Topology, Transport

__all__ = ["MemoryBroker", "NoticeTransport", "Topology", "Transport"]

publish(__name__)
