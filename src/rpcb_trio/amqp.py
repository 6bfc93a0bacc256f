"""The transport to RabbitMQ."""

from rpcb_trio._public import publish
from rpcb_trio._transports._amqp import AmqpTransport

__all__ = ["AmqpTransport"]

publish(__name__)
