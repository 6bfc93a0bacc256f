"""Ways to a broker: one protocol, an embedded broker in memory, and RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpcb_trio._transports._memory import MemoryBroker
from rpcb_trio._transports._protocol import (
    BrokerFacts,
    CallerSession,
    Inbox,
    Inboxes,
    NoticePublisher,
    NoticeSubscriber,
    NoticeTransport,
    QueueFacts,
    Rest,
    Session,
    Transport,
)
from rpcb_trio._transports._topology import CANCELS, LARGEST_PREFETCH, LONGEST_HEARTBEAT, Topology
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from rpcb_trio.amqp import AmqpTransport

__all__ = [
    "CANCELS",
    "LARGEST_PREFETCH",
    "LONGEST_HEARTBEAT",
    "BrokerFacts",
    "CallerSession",
    "Inbox",
    "Inboxes",
    "MemoryBroker",
    "NoticePublisher",
    "NoticeSubscriber",
    "NoticeTransport",
    "QueueFacts",
    "Rest",
    "Session",
    "Topology",
    "Transport",
    "as_notice_transport",
    "as_transport",
    "server_of",
]


def as_transport(transport: Transport | str) -> Transport:
    """Accept an AMQP URL in the place of a transport.

    Raises:
        SettingError: it is no URL of a broker.
    """
    return _to_rabbitmq(transport) if isinstance(transport, str) else transport


def as_notice_transport(transport: NoticeTransport | str) -> NoticeTransport:
    """As `as_transport`, for notices."""
    return _to_rabbitmq(transport) if isinstance(transport, str) else transport


def server_of(transport: Transport) -> tuple[str, int] | None:
    """Host and port of a transport's broker, where it knows them, as its attribute `server`."""
    server: tuple[str, int] | None = getattr(transport, "server", None)
    return server


def _to_rabbitmq(url: str) -> AmqpTransport:
    if not url.startswith(("amqp://", "amqps://")):
        raise SettingError("url must begin with amqp:// or amqps://")
    from rpcb_trio.amqp import AmqpTransport  # noqa: PLC0415 - importing aiormq takes 0.1 s, which others need not wait

    return AmqpTransport(url)
