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

RELEASE = re.compile(r"RabbitMQ (\d+)(?:\.(\d+))?")
TOO_BIG = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


def rabbitmq_release(server_properties: Mapping[str, object]) -> tuple[int, int] | None:
    """The major and minor version of a RabbitMQ; None where it is another broker, or says none."""
    said = f"{_text(server_properties.get('product'))} {_text(server_properties.get('version'))}"
    found = RELEASE.match(said)
    return (int(found[1]), int(found[2] or 0)) if found else None


def largest_message(server_properties: Mapping[str, object]) -> int | None:
    """The default of the broker that says this of itself, in bytes; None where it is no RabbitMQ."""
    release = rabbitmq_release(server_properties)
    return None if release is None else FROM_4 if release >= (4, 0) else UP_TO_3


def unset_priority(server_properties: Mapping[str, object], topology: Topology) -> int:
    """What a request without a priority counts as in the queue, so that the worker ranks it likewise.

    Quorum queues have had strict priorities since RabbitMQ 4.3
    (https://www.rabbitmq.com/docs/quorum-queues#priorities).
    """
    release = rabbitmq_release(server_properties)
    return UNSET_IN_QUORUM if topology.is_quorum and release is not None and release >= (4, 3) else 0


def learned_limit(said: str) -> int | None:
    """The limit, in bytes, that a broker named when it refused a message; None where it named none."""
    found = TOO_BIG.search(said)
    return int(found[1]) if found else None


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
