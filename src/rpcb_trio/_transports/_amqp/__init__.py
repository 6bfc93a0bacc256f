"""RabbitMQ, by aiormq on asyncio under trio."""

from rpcb_trio._transports._amqp._transport import AmqpTransport

__all__ = ["AmqpTransport"]
