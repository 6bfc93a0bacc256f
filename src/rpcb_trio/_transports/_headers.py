"""What a reply bears of its request's headers, and what a dead letter's headers say, on every transport."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from rpcb_trio._messages import REQUEST_ID_HEADER
from rpcb_trio._shown import shown

LONGEST_ID = 1024
"""Bytes (characters, of a text) of an id that comes back. A longer one is no id."""


def ids_of(headers: Mapping[str, object]) -> dict[str, object]:
    """Those of a request's headers that its reply bears too."""
    return {
        name: value
        for name, value in headers.items()
        if len(name) == len(REQUEST_ID_HEADER)
        and name.lower() == REQUEST_ID_HEADER
        and not (isinstance(value, str | bytes | bytearray | list | Mapping) and len(value) > LONGEST_ID)
    }


REASON_HEADER = "rpcb-dead-letter-reason"
QUEUE_HEADER = "rpcb-dead-letter-queue"
TIME_HEADER = "rpcb-dead-letter-time"

ROUTING_HEADERS = frozenset({"CC", "BCC"})
"""RabbitMQ sends copies where these say, and a caller may have written anything there."""


def dead_letter_headers(queue: str, reason: str) -> dict[str, object]:
    """Our own: why it is a dead letter, from which queue, and since when, as ISO 8601 in UTC.

    They are texts, since there are client libraries that can't read every other type.
    """
    return {
        REASON_HEADER: one_line(reason),
        QUEUE_HEADER: queue,
        TIME_HEADER: datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def one_line(reason: str) -> str:
    """A reason as a header and a log line bear it."""
    return shown(" ".join(reason.split()))
