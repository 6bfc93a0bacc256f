"""What AMQP 0-9-1 counts in 16 bits; for those too who check settings and need not wait for aiormq."""

from __future__ import annotations

LARGEST_PREFETCH = 65535
"""`basic.qos` takes 0 for no bound at all."""

LONGEST_HEARTBEAT = 65534
"""Seconds; 0 is for none."""
