"""A worker's session: replies and dead letters are published and confirmed, then their requests are acked."""
