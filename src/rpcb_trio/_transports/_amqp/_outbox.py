"""Sending replies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum

import msgspec
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from rpcb_trio._messages import Answer

DIRECT = "amq.rabbitmq.reply-to."


class Fate(StrEnum):
    """What became of one publish."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    NACKED = "nacked"
    LOST = "lost"
    """The channel closed before the broker had an answer."""
    UNFIT = "unfit"
    """It can't be put into AMQP."""


class Parcel(msgspec.Struct, frozen=True):
    """One reply, addressed."""

    exchange: str
    routing_key: str
    mandatory: bool
    body: bytes
    properties: Basic.Properties


def pack(answer: Answer) -> Parcel:
    reply_to = answer.request.reply_to or ""
    reply = answer.reply
    return Parcel(
        "",
        reply_to,
        not reply_to.startswith(DIRECT),
        reply.body,
        Basic.Properties(
            content_type=reply.content_type,
            headers=dict(reply.headers) or None,
            delivery_mode=1,
            correlation_id=answer.request.correlation_id,
        ),
    )


async def publish_all(channel: AbstractChannel, parcels: Sequence[Parcel]) -> list[Fate]:
    return await asyncio.gather(*(publish(channel, parcel) for parcel in parcels))


async def publish(channel: AbstractChannel, parcel: Parcel) -> Fate:
    try:
        await channel.basic_publish(
            parcel.body,
            exchange=parcel.exchange,
            routing_key=parcel.routing_key,
            properties=parcel.properties,
            mandatory=parcel.mandatory,
            wait=False,
        )
    except PublishError:
        return Fate.RETURNED
    except DeliveryError:
        return Fate.NACKED
    return Fate.CONFIRMED
