"""AMQP 0-9-1 as bytes: frames, properties and tables, read and written. Pure: no `await`, no clock."""
