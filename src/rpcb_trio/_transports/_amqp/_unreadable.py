"""Deliveries that can't be read.

RabbitMQ passes on whatever a producer wrote: text that is not UTF-8, a date in the year 292278994. pamqp
raises for those, aiormq then drops the connection, the broker redelivers, and one such message keeps a worker
from ever working again. So, on our connections only, the properties of such a message read as `Unreadable`,
and who receives it rejects it. A routing key that is not UTF-8 costs nothing, since nobody reads it.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache

from pamqp import decode
from pamqp.base import Frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

_is_ours = ContextVar("_is_ours", default=False)
"""Holds in the asyncio task that opens a connection of ours and, by inheritance, in those that read it."""


class Unreadable(Basic.Properties):
    """Stands for properties that can't be read."""


def bear_unreadable() -> None:
    """Let connections opened by this task outlive what can't be read; all others stay as they are."""
    _is_ours.set(True)
    _teach_pamqp()


@cache
def _teach_pamqp() -> None:
    _teach_properties()
    _teach_routing_keys()


def _teach_properties() -> None:
    read = ContentHeader.unmarshal

    def read_or_mark(header: ContentHeader, data: bytes) -> None:
        try:
            read(header, data)
        except (ValueError, ArithmeticError, OSError, RecursionError):
            # The body's size, which comes before the properties, has been read by then.
            if not _is_ours.get():
                raise
            header.properties = Unreadable()

    ContentHeader.unmarshal = read_or_mark  # type: ignore[assignment,method-assign]


def _teach_routing_keys() -> None:
    read = Frame.unmarshal

    def read_or_guess(frame: Frame, data: bytes) -> None:
        try:
            read(frame, data)
        except UnicodeDecodeError:
            if not _is_ours.get():
                raise
            _read_leniently(frame, data)

    # The frames that carry a producer's routing key back to us.
    Basic.Deliver.unmarshal = read_or_guess  # type: ignore[assignment,method-assign]
    Basic.Return.unmarshal = read_or_guess  # type: ignore[assignment,method-assign]


def _read_leniently(frame: Frame, data: bytes) -> None:
    """Read a frame that has no two bits in a row; what is not UTF-8 in its texts reads as U+FFFD."""
    for name in frame.attributes():
        kind = frame.amqp_type(name)
        size, value = _text(data) if kind == "shortstr" else decode.by_type(data, kind)
        setattr(frame, name, value)
        data = data[1 if kind == "bit" else size :]


def _text(data: bytes) -> tuple[int, str]:
    size = 1 + data[0]
    return size, data[1:size].decode(errors="replace")
