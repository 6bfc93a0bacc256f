"""What one writes on pika's blocking connection to call a worker and wait for its reply."""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import uuid4

import pika  # type: ignore[import-untyped] # it carries no types
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped] # as above
from pika.spec import Basic, BasicProperties  # type: ignore[import-untyped] # as above

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"


class PikaCaller:
    """One connection, one call at a time."""

    def __init__(self, url: str, queue: str) -> None:
        self._queue = queue
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.basic_consume(DIRECT_REPLY_TO, self._take, auto_ack=True)
        self._awaited = ""
        self._reply: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def call(self, body: bytes) -> bytes:
        """Send one request and wait for its reply."""
        self._awaited, self._reply = str(uuid4()), None
        properties = pika.BasicProperties(
            content_type="application/octet-stream",
            correlation_id=self._awaited,
            reply_to=DIRECT_REPLY_TO,
        )
        self._channel.basic_publish("", self._queue, body, properties)
        while self._reply is None:
            self._connection.process_data_events(time_limit=None)
        return self._reply

    def _take(
        self, _channel: BlockingChannel, _method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        if properties.correlation_id == self._awaited:
            self._reply = body
