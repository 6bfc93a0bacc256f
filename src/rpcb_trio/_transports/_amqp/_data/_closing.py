"""Why the broker closed a channel or a connection, and whether that is about the request, the worker or itself.

| what the broker says | it is about |
|---|---|
| channel: 403 for an exchange | the worker: its user lacks a right. Or the request, where its `reply_to` names an exchange that this worker never could write to (see `Rights`) |
| channel: 403 for a topic (a routing key), or for an internal exchange | the request: another routing key or exchange would pass. Or the worker, where that very key has passed |
| channel: 404, 405, 406, 311, 313 | the request: its address, its size, its properties |
| connection: 501 to 505, 540, 541 | the request, if the connection ends over it again when it is sent alone and other messages pass |
| connection: 320 (shutdown, maintenance, an operator), 506 (resources), 530 (a limit, a virtual host) | the broker |
| any code that is not here | the broker: no request is blamed for what we can't read |
| returned (312), nacked | the request: the queue that its `reply_to` names is gone or full |
| no confirm | the request, if replies to other addresses are confirmed meanwhile; else the broker |

What is about the worker or the broker costs no request anything: the session ends, all that is held is
requeued, and the worker is not ready until the condition passes.
"""  # noqa: E501 - a table

from __future__ import annotations

import re
from enum import Enum, auto

import msgspec

from rpcb_trio._shown import on_one_line
from rpcb_trio._transports._codec._frames import Control, read_code, read_text

ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED = 403, 404, 405, 406

OF_CHANNEL = frozenset({311, 313, NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED})
OF_CONNECTION = frozenset({501, 502, 503, 504, 505, 540, 541})
"""Codes with which a broker closes a channel or a connection over what it was sent (AMQP 0-9-1, 1.2)."""

REFUSED_EXCHANGE = re.compile(r"access to exchange '(.*?)' in vhost")
REFUSED_TOPIC = re.compile(r"access to topic '(.*)' in exchange '(.*?)' in vhost")
OWN_FAULT = re.compile(r"access to topic '|internal exchange '")

DEFAULT_EXCHANGE = "amq.default"
"""How the broker calls the exchange that has no name."""


class Blame(Enum):
    REQUEST = auto()
    WORKER = auto()
    BROKER = auto()


class Closing(msgspec.Struct, frozen=True):
    """The end of a channel or a connection."""

    why: str
    code: int = 0
    """The broker's reply code; 0 where it said none."""
    is_fault: bool = False
    """Whether the broker found fault with something that it was sent, or with its sender."""
    is_of_connection: bool = True


class ChannelRefused(Exception):
    """The broker refused what it was asked on a channel, and has closed the channel."""

    def __init__(self, closing: Closing) -> None:
        super().__init__(closing.why)
        self.code = closing.code


def closing_of(event: Control, *, is_of_connection: bool = False) -> Closing:
    """Read the broker's `channel.close`, or its `connection.close`; also one that is cut short closes."""
    code, text = read_code(event.arguments), read_text(event.arguments[2:])
    return Closing(
        # An operator may close connections with a reason of several lines, and names hold anything.
        why=on_one_line(" ".join(text.split())) or f"the broker closed it with code {code}",
        code=code,
        is_fault=blame(code, text, is_of_connection=is_of_connection) is not Blame.BROKER,
        is_of_connection=is_of_connection,
    )


def blame(code: int, said: str, *, is_of_connection: bool) -> Blame:
    """Whose condition it is that a channel or a connection was closed with `code`; 0 where none was said."""
    if is_of_connection:
        return Blame.REQUEST if code in OF_CONNECTION else Blame.BROKER
    if code == ACCESS_REFUSED:
        return Blame.REQUEST if OWN_FAULT.search(said) else Blame.WORKER
    return Blame.REQUEST if code in OF_CHANNEL else Blame.BROKER


def refused_topic(said: str) -> tuple[str, str] | None:
    """The exchange, and the routing key that we may not use there; None if a broker said nothing so."""
    found = REFUSED_TOPIC.search(said)
    return (found[2], found[1]) if found else None


def refused_exchange(said: str) -> str | None:
    """The exchange that a broker would not let us write to, by what it said; None if it said nothing so."""
    found = REFUSED_EXCHANGE.search(said)
    if found is None:
        return None
    return "" if found[1] == DEFAULT_EXCHANGE else found[1]
