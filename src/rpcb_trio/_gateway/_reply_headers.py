"""What a worker tells in its reply's headers, as HTTP's headers: `rpcb-batch-size` and so on."""

from __future__ import annotations

import re
from urllib.parse import quote

from rpcb_trio._messages import REASON_HEADER, Reply

OURS = re.compile(r"rpcb-[a-z0-9._-]{1,60}", re.ASCII | re.IGNORECASE)
"""Names that are passed on; a worker may send others, and what HTTP would not take."""

MOST_HEADERS = 32
"""Far more than any worker of ours sends; proxies refuse answers with too many."""

LONGEST_HEADER = 255
"""Bytes, as AMQP has it."""

LONGEST_REASON = 500
"""Letters of an error's text, as workers bound it."""

PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
"""What stands in a reason as it is; all else in percent-encoding, as in gRPC's `grpc-message`."""


def reply_headers(reply: Reply) -> dict[str, str]:
    """The headers that are to be passed on."""
    told = {
        name.lower(): plain_or(_written(value), "?")
        for name, value in reply.headers.items()
        if OURS.fullmatch(name) and isinstance(value, str | int | float)
    }
    headers = dict(list(told.items())[:MOST_HEADERS])
    reason = reply.error_reason
    return headers if reason is None else headers | {REASON_HEADER: shown_reason(reason)}


def shown_reason(reason: str) -> str:
    """A reason as a header may hold it."""
    return quote(reason[:LONGEST_REASON].strip(), safe=PLAIN, errors="replace")


def plain_or(text: str, otherwise: str) -> str:
    """The text, if it may stand in a header of HTTP and of AMQP."""
    may_stand = text.isascii() and text.isprintable() and text == text.strip() and len(text) <= LONGEST_HEADER
    return text if may_stand else otherwise


def _written(value: str | float) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return "?"
