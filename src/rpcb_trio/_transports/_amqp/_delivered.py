"""A request as AMQP delivered it."""

from __future__ import annotations

import msgspec

from rpcb_trio._messages import NO_HEADERS, Request
from rpcb_trio._transports._amqp._addressing import PERSISTENT
from rpcb_trio._transports._amqp._frames import Delivery
from rpcb_trio._transports._amqp._properties import Properties
from rpcb_trio._transports._deadline import DEADLINE_HEADER, Deadlines


class Delivered(Request, frozen=True, eq=False, kw_only=True):
    """A request that remembers the message it was, should it go to the dead letters."""

    delivery: Delivery

    @property
    def properties(self) -> Properties:
        """As its producer wrote them."""
        assert self.delivery.properties is not None  # noqa: S101 - what can't be read becomes no request
        return self.delivery.properties


class Reading(msgspec.Struct, frozen=True):
    """What is known of a queue, to read its deliveries by."""

    deadlines: Deadlines
    unset_priority: int = 0
    """What a delivery without a priority counts as, as the broker has it in this queue."""

    def request(self, delivery: Delivery, properties: Properties, arrived: float, wall: float) -> Delivered:
        """Read a delivery that arrived at `arrived` on trio's clock, `wall` in UNIX seconds."""
        headers = properties.headers or NO_HEADERS
        deadline = None
        if properties.expiration is not None or DEADLINE_HEADER in headers:
            deadline = self.deadlines.read(
                arrived,
                wall,
                lifetime=_seconds(properties.expiration),
                sent=properties.timestamp,
                headers=headers,
                reply_to=properties.reply_to,
                redelivered=delivery.redelivered,
            )
        priority = properties.priority
        return Delivered(
            body=delivery.body,
            arrived=arrived,
            reply_to=properties.reply_to or None,
            correlation_id=properties.correlation_id,
            deadline=deadline,
            redelivered=delivery.redelivered,
            priority=self.unset_priority if priority is None else priority,
            persistent=properties.delivery_mode == PERSISTENT,
            headers=headers,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            tag=delivery.tag,
            delivery=delivery,
        )


def _seconds(expiration: str | None) -> float | None:
    """Expirations are milliseconds, written out."""
    if not expiration or not expiration.isascii() or not expiration.isdecimal():
        return None
    return int(expiration) / 1000
