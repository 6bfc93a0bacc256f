"""Why a channel or a connection has ended, and whether the broker found fault with what it was sent."""

from __future__ import annotations

import msgspec

from rpcb_trio._transports._amqp._frames import Control, read_code, read_text
from rpcb_trio._transports._amqp._refusals import Blame, blame


class Closing(msgspec.Struct, frozen=True):
    """The end of a channel or a connection."""

    why: str
    code: int = 0
    """The broker's reply code; 0 where it said none."""
    is_fault: bool = False
    """Whether the broker found fault with something that it was sent, or with who sent it."""
    is_of_connection: bool = True


def closing_of(event: Control, *, is_of_connection: bool = False) -> Closing:
    """Read the broker's `channel.close`, or its `connection.close`; also one that is cut short closes."""
    code, text = read_code(event.arguments), read_text(event.arguments[2:])
    return Closing(
        # An operator may close connections with a reason of several lines.
        why=" ".join(text.split()) or f"the broker closed it with code {code}",
        code=code,
        is_fault=blame(code, text, is_of_connection=is_of_connection) is not Blame.BROKER,
        is_of_connection=is_of_connection,
    )
