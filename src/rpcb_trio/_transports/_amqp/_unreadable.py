"""Deliveries whose properties can't be read.

RabbitMQ passes on whatever a producer wrote: text that is not UTF-8, a date in the year 292278994. pamqp
raises for those, aiormq then drops the connection, the broker redelivers, and one such message keeps a worker
from ever working again. So, on our loops only, the properties of such a message read as `Unreadable`, and who
receives it rejects it.
"""

from __future__ import annotations

import asyncio
from functools import cache
from weakref import WeakSet

from pamqp.commands import Basic
from pamqp.header import ContentHeader

_ours: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


class Unreadable(Basic.Properties):
    """Stands for properties that can't be read."""


def bear_unreadable(loop: asyncio.AbstractEventLoop) -> None:
    """Let connections on this loop outlive unreadable properties; all others stay as they are."""
    _ours.add(loop)
    _teach_pamqp()


@cache
def _teach_pamqp() -> None:
    read = ContentHeader.unmarshal

    def read_or_mark(header: ContentHeader, data: bytes) -> None:
        try:
            read(header, data)
        except (ValueError, ArithmeticError, OSError, RecursionError):
            # The body's size, which comes before the properties, has been read by then.
            if not _on_our_loop():
                raise
            header.properties = Unreadable()

    ContentHeader.unmarshal = read_or_mark  # type: ignore[assignment,method-assign]


def _on_our_loop() -> bool:
    try:
        return asyncio.get_running_loop() in _ours
    except RuntimeError:
        return False
