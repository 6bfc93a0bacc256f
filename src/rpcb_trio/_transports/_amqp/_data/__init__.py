"""The data plane: what each message costs. Deliveries, publishes, confirms and acks; no asyncio."""
