"""How large a message may be: RabbitMQ's `max_message_size`, which no broker tells before it refuses one.

Its default is 128 MiB up to RabbitMQ 3.13 and 16 MiB from 4.0 on
(https://www.rabbitmq.com/docs/configure, `max_message_size`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MIB = 2**20
UP_TO_3 = 128 * MIB
FROM_4 = 16 * MIB

TOO_BIG = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


def largest_message(server_properties: Mapping[str, object]) -> int | None:
    """The default of the broker that says this of itself, in bytes; None where it is no RabbitMQ."""
    if _text(server_properties.get("product")) != "RabbitMQ":
        return None
    major = _text(server_properties.get("version")).partition(".")[0]
    if not major.isdecimal():
        return None
    return FROM_4 if int(major) >= 4 else UP_TO_3  # noqa: PLR2004 - the version that changed it


def is_too_big(said: str) -> bool:
    """Whether the broker closed a channel since a message was too big for it."""
    return TOO_BIG.search(said) is not None


def learned_limit(said: str) -> int | None:
    """The limit, in bytes, that a broker named when it refused a message; None where it named none."""
    found = TOO_BIG.search(said)
    return int(found[1]) if found else None


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
