"""What AMQP has no form for, and so the embedded broker does not take either."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from rpcb_trio._messages import Outgoing
from rpcb_trio._transports._topology import LONGEST_NAME
from rpcb_trio.errors import SettingError

PRIORITIES = range(256)

Scalar = bytes | bytearray | float | Decimal | datetime
"""Of headers; so are texts, whole numbers of 64 bits, and None."""


def check_sendable(request: Outgoing) -> None:
    """Refuse a request that no broker could be sent.

    Raises:
        SettingError: it is one.
    """
    why = None
    if request.priority is not None and request.priority not in PRIORITIES:
        why = f"the priority is {request.priority}, not 0 to {PRIORITIES[-1]}"
    elif not _is_short(request.routing_key) or not _is_short(request.content_type):
        why = f"the routing key or the content type is no text of at most {LONGEST_NAME} bytes"
    elif request.headers and not _is_table(request.headers):
        why = "a header is of a type that AMQP lacks, or nested too deeply, or its name is no short text"
    if why is not None:
        raise SettingError(f"the request can't be put into AMQP: {why}")


def _is_text(text: object, longest: float = math.inf) -> bool:
    try:
        return isinstance(text, str) and len(text.encode()) <= longest
    except UnicodeEncodeError:
        return False


def _is_short(text: object) -> bool:
    return _is_text(text, LONGEST_NAME)


def _is_table(headers: Mapping[str, object]) -> bool:
    try:
        return _is_field(headers)
    except RecursionError:
        return False


def _is_field(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_short(name) and _is_field(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(_is_field, value))
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, Scalar) or _is_text(value)
