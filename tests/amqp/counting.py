"""A connection to publish on that leads nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

from pamqp.commands import Basic  # noqa: TID251 - it reads what was written
from pamqp.frame import unmarshal  # noqa: TID251 - likewise
from pamqp.header import ContentHeader  # noqa: TID251 - likewise

from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._publications import Publication, PublishChannel
from rpcb_trio._transports._codec._frames import Confirm, Returned
from rpcb_trio._transports._codec._properties import Properties


class CountingBroker:
    """Stands in for a connection; counts what is published on it, as a broker does."""

    frame_max = 4096

    def __init__(self) -> None:
        self.ids: dict[int, str | None] = {}
        """The message id of each message that is to come back where no queue is; None for all others."""
        self.flushed = 0
        self.wire = self
        self._mandatory = False
        self.channel = PublishChannel(cast(Connection, self), cast(ControlChannel, SimpleNamespace(number=1)))

    @property
    def newest(self) -> int:
        return len(self.ids)

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        stream = b"".join(pieces)
        while stream:
            size, _, frame = unmarshal(stream)
            stream = stream[size:]
            if isinstance(frame, Basic.Publish):
                self._mandatory = frame.mandatory
            elif isinstance(frame, ContentHeader):
                self.ids[self.newest + 1] = frame.properties.message_id if self._mandatory else None

    def flush(self) -> None:
        self.flushed += 1

    def publish(self, *publications: Publication) -> None:
        for each in publications:
            self.channel.write(each)

    def confirm(self, tag: int, *, multiple: bool = False, is_taken: bool = True) -> None:
        self.channel.confirm(Confirm(1, tag, multiple, is_taken))

    def bring_back(self, name: str | None) -> None:
        self.channel.take_back(Returned(1, 312, Properties(message_id=name)))
