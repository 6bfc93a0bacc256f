"""The amqp transport, on a real RabbitMQ."""
