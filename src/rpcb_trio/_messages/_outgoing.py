"""What is published besides replies: the requests of a client, and notices."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rpcb_trio._messages._headers import NO_HEADERS


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One request as an `RpcClient` sends it. `expiration` is in seconds."""

    body: bytes
    exchange: str
    routing_key: str
    correlation_id: str
    expiration: float | None = None
    priority: int | None = None
    headers: Mapping[str, object] = NO_HEADERS
    content_type: str = "application/octet-stream"
    reply_to: str | None = None
    """The queue for its reply; None for a direct reply-to address of the client's."""

    def why_too_big(self, most: int) -> str:
        """The text for a broker that takes at most so many bytes."""
        return (
            f"the request has {len(self.body)} bytes, and the broker takes {most} at most; send less, or "
            "set claims, a store for what is larger. If max_message_size was raised in rabbitmq.conf, set it "
            "here, too"
        )

    def why_returned(self) -> str:
        """The text for a broker that has no queue for it."""
        if not self.exchange:
            return f"there is no queue {self.routing_key!r}"
        return f"no queue is bound to exchange {self.exchange!r} with routing key {self.routing_key!r}"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message to an exchange that needs no listener. `expiration` is in seconds."""

    routing_key: str
    body: bytes
    expiration: float
    content_type: str = "application/json"
