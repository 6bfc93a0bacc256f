"""The queues of a soak: made before it, the dead letters read all the while, and what is left at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pika  # type: ignore[import-untyped] # it carries no types

from benches.soak.accounts import Accounts
from benches.soak.bodies import number_in
from benches.soak.course import Course
from benches.soak.endings import Mark
from benches.soak.foreign import TROUBLE
from tests.rabbitmq import Broker

TAKES_NOTHING = {"x-max-length": 0, "x-overflow": "reject-publish"}


class Queues(msgspec.Struct, frozen=True):
    requests: str
    dead_letter_exchange: str
    dead_letters: str
    replies: str
    """The named queue of the producer that has one."""
    full: str
    """A queue that takes no reply."""

    @classmethod
    def fresh(cls, broker: Broker) -> Queues:
        return cls(
            *(broker.fresh_name(f"soak-{what}") for what in ("requests", "dlx", "dead", "replies", "full"))
        )


def declare(broker: Broker, queues: Queues, queue_type: str) -> None:
    """Make them, as the workers will declare them."""
    arguments = {"x-dead-letter-exchange": queues.dead_letter_exchange}
    if queue_type != "classic":
        arguments["x-queue-type"] = queue_type
    with broker.channel() as channel:
        channel.exchange_declare(queues.dead_letter_exchange, "fanout", durable=True)
        channel.queue_declare(queues.dead_letters, durable=True)
        channel.queue_bind(queues.dead_letters, queues.dead_letter_exchange)
        channel.queue_declare(queues.replies, durable=True)
        channel.queue_declare(queues.full, durable=True, arguments=TAKES_NOTHING)
        channel.queue_declare(queues.requests, durable=True, arguments=arguments)


def delete(broker: Broker, queues: Queues) -> None:
    with broker.channel() as channel:
        for queue in (queues.requests, queues.dead_letters, queues.replies, queues.full):
            channel.queue_delete(queue)
        channel.exchange_delete(queues.dead_letter_exchange)


def consumers(broker: Broker, queues: Queues) -> int:
    with broker.channel() as channel:
        return int(channel.queue_declare(queues.requests, passive=True).method.consumer_count)


def enter_left(broker: Broker, queues: Queues, accounts: Accounts) -> None:
    """Enter what is still in the workers' queue."""
    with broker.channel() as channel:
        left: Sequence[tuple[Any, Any, bytes]] = list(
            iter(lambda: channel.basic_get(queues.requests, auto_ack=True), (None, None, None))
        )
    for _, _, body in left:
        number = number_in(body)
        if number is not None:
            accounts.mark(number, Mark.QUEUED)


class DeadLetters:
    """Reads the dead-letter queue, in a thread."""

    def __init__(self, url: str, queue: str, *, accounts: Accounts, course: Course) -> None:
        self._url = url
        self._queue = queue
        self._accounts = accounts
        self._course = course

    def run(self) -> None:
        while not self._course.is_over:
            try:
                self._work()
            except TROUBLE:
                time.sleep(0.5)

    def _work(self) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self._url))
        try:
            channel = connection.channel()
            channel.basic_consume(self._queue, self._receive)
            while not self._course.is_over:
                connection.process_data_events(time_limit=0.1)
        finally:
            if connection.is_open:
                connection.close()

    def _receive(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        deaths = (properties.headers or {}).get("x-death") or [{}]
        expired = deaths[0].get("reason") == "expired"
        self._accounts.bury(body, expired=expired, redelivered=method.redelivered)
        channel.basic_ack(method.delivery_tag)
