"""Producers as they are in the field: another library (pika), blocking, each in a thread of its own."""

from __future__ import annotations

import random
import time
from enum import StrEnum
from typing import Any

import pika  # type: ignore[import-untyped] # it carries no types

from benches.soak.accounts import Accounts, Seen
from benches.soak.bodies import Kind, request_body
from benches.soak.course import Course
from benches.soak.endings import Mark
from benches.soak.mix import Mix

WINDOW = 12
"""Requests of one producer that may be unanswered."""
PAUSE = 0.01
"""Seconds to look for replies between two requests."""
FORGED_ADDRESS = "amq.rabbitmq.reply-to.aaaa.bbbb"
PATIENCE = 60.0
TROUBLE = (pika.exceptions.AMQPError, OSError)


class Address(StrEnum):
    """Where a producer wants its replies."""

    NAMED = "named"
    """A durable queue that outlives the connection."""
    EXCLUSIVE = "exclusive"
    """A queue that goes with the connection."""
    DIRECT = "direct"
    """Direct reply-to, which goes with the connection too."""


class ForeignProducer:
    """One connection that sends requests and takes replies; rebuilt when it is lost.

    Args:
        url: of the broker.
        queue: the workers' queue.
        address: which producer it is.
        replies: the kind of its reply address.
        name: of its reply queue, where that is a named one.
        full: a queue that takes no reply.
        mix: says what to send.
        course: tells whether to go on sending, and whether to listen still.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        address: int,
        *,
        replies: Address,
        name: str,
        full: str,
        accounts: Accounts,
        mix: Mix,
        course: Course,
    ) -> None:
        self._url = url
        self._queue = queue
        self._address = address
        self._replies = replies
        self._name = name
        self._special = {Kind.FORGED: FORGED_ADDRESS, Kind.FULL: full}
        self._accounts = accounts
        self._mix = mix
        self._course = course

    def run(self) -> None:
        """Send and receive until all is over."""
        while not self._course.is_over:
            since = self._accounts.sent
            try:
                self._work()
            except TROUBLE:
                time.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - not a secret
            if self._replies is not Address.NAMED:
                self._accounts.lose_address(self._address, since)

    def _work(self) -> None:
        parameters = pika.URLParameters(self._url)
        parameters.socket_timeout = parameters.blocked_connection_timeout = PATIENCE
        connection = pika.BlockingConnection(parameters)
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            reply_to = self._listen(channel)
            while not self._course.is_over:
                if self._course.is_sending and self._accounts.waiting_at(self._address) < WINDOW:
                    self._send(channel, reply_to)
                connection.process_data_events(time_limit=PAUSE)
        finally:
            if connection.is_open:
                connection.close()

    def _listen(self, channel: Any) -> str:
        address = "amq.rabbitmq.reply-to"
        if self._replies is Address.NAMED:
            address = channel.queue_declare(self._name, durable=True).method.queue
        elif self._replies is Address.EXCLUSIVE:
            address = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(address, self._receive, auto_ack=self._replies is Address.DIRECT)
        return address

    def _send(self, channel: Any, reply_to: str) -> None:
        kind = self._mix.kind()
        number = self._accounts.send(kind, self._address)
        properties = pika.BasicProperties(
            reply_to=self._special.get(kind, reply_to),
            correlation_id=None if kind is Kind.BARE else f"soak-{number}",
            expiration=str(round(1000 * self._mix.lifetime())) if kind is Kind.EXPIRING else None,
            delivery_mode=2,
        )
        try:
            channel.basic_publish("", self._queue, request_body(number, kind), properties, mandatory=True)
        except TROUBLE:
            self._accounts.mark(number, Mark.UNCONFIRMED)
            raise
        self._accounts.mark(number, Mark.CONFIRMED)

    def _receive(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        correlation_id = properties.correlation_id
        self._accounts.reply(
            Seen(
                body=body,
                address=self._address,
                correlated=None if correlation_id is None else int(correlation_id.removeprefix("soak-")),
                error=(properties.headers or {}).get("rpcb-error"),
                redelivered=method.redelivered,
            )
        )
        if self._replies is not Address.DIRECT:
            channel.basic_ack(method.delivery_tag)
