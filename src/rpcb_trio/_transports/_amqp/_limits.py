"""What differs from version to version: how large a message may be, and the rank of one without a priority.

RabbitMQ names its `max_message_size` only when it refuses a message. The default is 128 MiB up to 3.13
and 16 MiB from 4.0 on (https://www.rabbitmq.com/docs/configure, `max_message_size`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rpcb_trio._transports._topology import Topology

MIB = 2**20
UP_TO_3 = 128 * MIB
FROM_4 = 16 * MIB

UNSET_IN_QUORUM = 4

TOO_BIG = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


def largest_message(server_properties: Mapping[str, object]) -> int | None:
    """The default of the broker that says this of itself, in bytes; None where it is no RabbitMQ."""
    if _text(server_properties.get("product")) != "RabbitMQ":
        return None
    major = _version(server_properties).partition(".")[0]
    if not major.isdecimal():
        return None
    return FROM_4 if int(major) >= 4 else UP_TO_3  # noqa: PLR2004 - the version that changed it


def unset_priority(server_properties: Mapping[str, object], topology: Topology) -> int:
    """What a request without a priority counts as in the queue, so that the worker ranks it likewise.

    Quorum queues have had strict priorities since RabbitMQ 4.3
    (https://www.rabbitmq.com/docs/quorum-queues#priorities).
    """
    if _text(server_properties.get("product")) != "RabbitMQ":
        return 0
    numbers = [int(part) if part.isdecimal() else 0 for part in _version(server_properties).split(".")[:2]]
    return UNSET_IN_QUORUM if topology.is_quorum and tuple(numbers) >= (4, 3) else 0


def learned_limit(said: str) -> int | None:
    """The limit, in bytes, that a broker named when it refused a message; None where it named none."""
    found = TOO_BIG.search(said)
    return int(found[1]) if found else None


def _version(server_properties: Mapping[str, object]) -> str:
    return _text(server_properties.get("version"))


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
