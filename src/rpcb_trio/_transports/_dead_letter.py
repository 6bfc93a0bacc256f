"""What a dead letter's headers say, on every transport."""

from __future__ import annotations

from datetime import UTC, datetime

from rpcb_trio._messages import Request

REASON_HEADER = "rpcb-dead-letter-reason"
QUEUE_HEADER = "rpcb-dead-letter-queue"
TIME_HEADER = "rpcb-dead-letter-time"

LONGEST_REASON = 500
"""Characters of a reason that go into the header."""

ROUTING_HEADERS = frozenset({"CC", "BCC"})
"""RabbitMQ sends copies where these say, and a producer may have written anything there."""


def dead_letter_headers(request: Request, queue: str, reason: str) -> dict[str, object]:
    """The request's own headers, why it is a dead letter, from which queue, and since when."""
    own = {name: value for name, value in request.headers.items() if name not in ROUTING_HEADERS}
    return {
        **own,
        REASON_HEADER: one_line(reason),
        QUEUE_HEADER: queue,
        TIME_HEADER: datetime.now(UTC),
    }


def one_line(reason: str) -> str:
    """A reason as a header and a log line bear it."""
    line = " ".join(reason.split())
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "..."
