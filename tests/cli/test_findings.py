"""What `doctor` says of a broker's version, the connection and the settings, without asking any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands.doctor._findings import Finding, Level, of_ack_time, of_connection, of_version
from rpcb_trio._transports import BrokerFacts

FACTS: dict[str, Any] = {
    "product": "RabbitMQ",
    "version": "3.10.8",
    "largest_message": 128 * 2**20,
    "host": "rabbit.example",
    "port": 5671,
    "vhost": "/",
    "user": "asr",
    "login": "PLAIN",
    "heartbeat": 15,
    "tls": "TLSv1.3",
    "certificate_days": 90.0,
}


def levels(findings: Iterator[Finding]) -> dict[str, Level]:
    return {each.what: each.level for each in findings}


@pytest.mark.parametrize(
    ("facts", "what", "level"),
    [
        ({}, "tls", Level.OK),
        ({"tls": None}, "tls", Level.WARNING),
        ({"tls": None, "host": "127.0.0.1"}, "tls", Level.OK),
        ({"tls": None, "host": "localhost"}, "tls", Level.OK),
        ({"verified": False}, "tls", Level.WARNING),
        ({"certificate_days": 12.0}, "tls", Level.WARNING),
        ({"heartbeat": 0}, "heartbeat", Level.WARNING),
    ],
)
def test_what_of_the_connection_is_worth_a_warning(facts: dict[str, Any], what: str, level: Level) -> None:
    assert levels(of_connection(BrokerFacts(**{**FACTS, **facts})))[what] is level


@pytest.mark.parametrize(
    ("version", "argument", "level"),
    [
        ("3.10.8", (), Level.WARNING),
        ("3.10.8", ("x-delivery-limit=5",), Level.OK),
        ("4.0.2", (), Level.OK),
        ("4.1.0-rc.1", (), Level.OK),
    ],
)
def test_a_quorum_queue_without_a_limit_of_deliveries_is_warned_of(
    version: str, argument: tuple[str, ...], level: Level
) -> None:
    broker = BrokerFacts(**{**FACTS, "version": version})
    settings = Settings(queue="q", queue_type="quorum", queue_argument=argument)
    assert levels(of_version(broker, settings))["delivery limit"] is level


@pytest.mark.parametrize(
    ("version", "settings", "what", "level", "part"),
    [
        ("3.13.7", {"queue_type": "quorum"}, "priorities", "ok", "none in a quorum queue"),
        ("4.2.0", {"queue_type": "quorum"}, "priorities", "ok", "two in a quorum queue: above 4"),
        ("4.3.6", {"queue_type": "quorum"}, "priorities", "ok", "32 in a quorum queue"),
        ("4.3.6", {"queue_type": "quorum"}, "priorities", "ok", "without one counts as 4"),
        ("4.3.6", {}, "priorities", "ok", "set queue_argument x-max-priority"),
        ("4.0.5", {"queue_type": "quorum"}, "delivery limit", "ok", "every return counts"),
        ("4.3.6", {"queue_type": "quorum"}, "delivery limit", "ok", "what it requeues does not"),
        ("4.0.5", {"on_refused_reply": "requeue"}, "refused replies", "ok", "for as long as"),
        (
            "4.0.5",
            {"on_refused_reply": "requeue", "queue_type": "quorum"},
            "refused replies",
            "ok",
            "until the delivery limit",
        ),
        (
            "4.3.6",
            {"on_refused_reply": "requeue", "queue_type": "quorum"},
            "refused replies",
            "ok",
            "for as long as",
        ),
        ("3.10.8", {"durable": False}, "durability", "warning", "gone with a restart"),
        ("4.0.5", {"durable": False}, "durability", "warning", "deprecates such queues"),
    ],
    ids=str,
)
def test_what_a_version_means_is_told_as_that_version_has_it(
    version: str, settings: dict[str, Any], what: str, level: str, part: str
) -> None:
    broker = BrokerFacts(**{**FACTS, "version": version})
    [found] = [each for each in of_version(broker, Settings(queue="q", **settings)) if each.what == what]
    assert found.level == level
    assert part in found.found


@pytest.mark.parametrize(
    ("version", "queue_type", "part"),
    [
        ("3.10.8", "classic", "30m (consumer_timeout)"),
        ("4.2.0", "classic", "30m (consumer_timeout)"),
        ("4.3.6", "classic", "none: this version waits"),
        ("4.3.6", "quorum", "30m (consumer_timeout)"),
    ],
)
def test_the_ack_time_out_is_told_where_the_version_has_one(version: str, queue_type: Any, part: str) -> None:
    broker = BrokerFacts(**{**FACTS, "version": version})
    assert part in of_ack_time(Settings(queue="q", queue_type=queue_type), broker).found


def test_another_product_is_warned_of_and_nothing_is_said_of_its_version() -> None:
    broker = BrokerFacts(**{**FACTS, "product": "LavinMQ", "version": "2.0", "largest_message": None})
    assert levels(of_version(broker, Settings(queue="q"))) == {"product": Level.WARNING}
