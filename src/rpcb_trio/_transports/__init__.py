"""Ways to a broker: one protocol, an embedded broker in memory, and RabbitMQ."""
