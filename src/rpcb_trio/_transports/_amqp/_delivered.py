"""A request as AMQP delivered it."""

from __future__ import annotations

import time

import trio
from aiormq.abc import DeliveredMessage

from rpcb_trio._messages import NO_HEADERS, Request
from rpcb_trio._transports._amqp._parcel import PERSISTENT
from rpcb_trio._transports._deadline import read_deadline


class Delivered(Request, frozen=True, eq=False, kw_only=True):
    """A request that remembers the message it was, should it go to the dead letters."""

    message: DeliveredMessage


def to_request(message: DeliveredMessage) -> Delivered:
    """Read a delivery."""
    properties = message.header.properties
    headers = properties.headers or NO_HEADERS
    arrived = trio.current_time()
    return Delivered(
        body=message.body,
        arrived=arrived,
        reply_to=properties.reply_to or None,
        correlation_id=properties.correlation_id,
        deadline=read_deadline(
            arrived,
            time.time(),
            lifetime=_seconds(properties.expiration),
            sent=properties.timestamp,
            headers=headers,
        ),
        redelivered=bool(message.redelivered),
        priority=properties.priority or 0,
        persistent=properties.delivery_mode == PERSISTENT,
        headers=headers,
        tag=message.delivery_tag or 0,
        message=message,
    )


def _seconds(expiration: str | None) -> float | None:
    """Expirations are milliseconds, written out."""
    if not expiration or not expiration.isascii() or not expiration.isdecimal():
        return None
    return int(expiration) / 1000
