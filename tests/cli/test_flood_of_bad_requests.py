"""Who sends bad requests at full rate takes nobody else's answers, memory or log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pika  # type: ignore[import-untyped] # it carries no types
import psutil  # type: ignore[import-untyped] # it carries no types
import trio

from rpcb_trio._commands._flood import MOST_ALIKE
from tests.amqp.producer import Producer
from tests.cli.conftest import Serve
from tests.rabbitmq import Broker

GOOD = 100
ROUNDS = 15
UNDECODABLE = 180
UNANSWERABLE = 15
HUGE = 10

FORGED = "amq.rabbitmq.reply-to.g2dkABByYWJiaXRAbG9jYWxob3N0.Zm9yZ2Vk"
KINDS_OF_LINES = 8
MOST_GROWTH = 100 * 2**20
"""Bytes; the flood itself is about as much, sent on."""

SERVICE = """
class Service:
    def decode(self, body): return body.decode()
    def infer(self, items): return [item.upper() for item in items]
    def encode(self, outcome): return getattr(outcome, 'value', 'failed').encode()
"""


def flood(broker: Broker, queue: str) -> int:
    """Publish what can't be decoded or answered, is forged, or bears huge headers; returns how many."""
    huge = {"junk": "x" * 100_000}
    sent: list[Any] = []
    for _ in range(ROUNDS):
        sent += [pika.BasicProperties(reply_to="nobody-there", correlation_id="1")] * UNDECODABLE
        sent += [pika.BasicProperties(reply_to="no-exchange/key")] * UNANSWERABLE
        sent += [pika.BasicProperties(headers=huge)] * HUGE
        sent += [pika.BasicProperties(reply_to=FORGED)]
    with broker.channel() as channel:
        for properties in sent:
            channel.basic_publish("", queue, b"\xff not UTF-8", properties)
    return len(sent)


async def test_a_flood_of_bad_requests_leaves_good_ones_answered_and_the_log_and_the_memory_bounded(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "service.py").write_text(SERVICE)
    async with serve("service:Service", "--queue", queue) as running:
        await running.line_with("consuming from queue")
        memory = psutil.Process(running.pid).memory_info
        before = memory().rss
        replies: list[Any] = []

        async def call() -> None:
            for _ in range(10):
                replies.extend(await Producer(broker, queue).call(*[b"good"] * (GOOD // 10)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            bad = await trio.to_thread.run_sync(flood, broker, queue)
            replies.extend(await Producer(broker, queue).call(b"after all of them"))
        assert memory().rss - before < MOST_GROWTH
    assert bad >= 3000
    assert [body for _, body in replies].count(b"GOOD") == GOOD
    assert len(running.lines) < KINDS_OF_LINES * MOST_ALIKE
