"""What a broker says of itself and of a queue, for who looks at it before a worker works there."""

from __future__ import annotations

import msgspec


class BrokerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A broker, and how we are connected to it."""

    product: str
    version: str
    largest_message: int | None
    """Bytes, by default of that version; None where it is not known."""
    host: str
    port: int
    vhost: str
    user: str
    login: str
    """The way to log in: `PLAIN`, or `EXTERNAL` by certificate."""
    heartbeat: int
    """Seconds; 0 for none."""
    tls: str | None
    """The protocol's version, as `TLSv1.3`; None for plain text."""
    verified: bool = True
    """Whether the broker's certificate was checked."""
    certificate_days: float | None = None
    """How many days the broker's certificate is valid still."""

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version; zeros where they can't be read."""
        numbers = [int(part) if part.isdecimal() else 0 for part in self.version.split(".")[:2]]
        major, minor = (*numbers, 0, 0)[:2]
        return major, minor


class QueueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A queue at this moment."""

    ready: int
    """Messages that wait to be delivered."""
    consumers: int
