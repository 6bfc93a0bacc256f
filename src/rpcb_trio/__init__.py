"""Dynamic-batching RPC worker for RabbitMQ, on trio."""
