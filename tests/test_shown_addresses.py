"""A log never shows where a direct caller can be reached, and always the name of a queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._messages import caller_hash, shown_address
from tests.scenarios import steady

TOKEN = "g2dkABByYWJiaXRAaG9zdC5kb21haW4AAAL7AAAAAGl.yUH9+xq1/Zw=="  # noqa: S105 - of no broker

SECRETS = {
    "RabbitMQ": ("amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to."),
    "LavinMQ": ("amq.direct.reply-to.", "amq.direct.reply-to."),
    "LavinMQ, with a tag that the broker made": ("amq.direct.reply-to.amq.ctag-", "amq.direct.reply-to."),
    "a broker that nobody knows": ("amq.some-broker.reply_to.v2:", "amq."),
    "one that spells it otherwise": ("amq.replyTo/", "amq."),
    "RabbitMQ, as Spring writes the default exchange": ("/amq.rabbitmq.reply-to.", "/amq.rabbitmq.reply-to."),
    "RabbitMQ's AMQP 1.0": ("/queues/amq.rabbitmq.reply-to.", "/queues/amq.rabbitmq.reply-to."),
    "capitals": ("AMQ.RabbitMQ.Reply-To.", "AMQ.RabbitMQ.Reply-To."),
}


@pytest.mark.parametrize("form", SECRETS)
@given(token=st.text(st.characters(codec="ascii"), min_size=8))
@steady
def test_an_address_that_a_broker_made_for_a_caller_is_never_shown_but_always_by_the_same_hash(
    form: str, token: str
) -> None:
    prefix, seen = SECRETS[form]
    for secret in (token, TOKEN):
        shown = shown_address(prefix + secret)
        assert shown == f"'{seen}...' (caller {caller_hash(prefix + secret)})"
        assert secret not in shown.partition("...' (caller ")[0].removeprefix(f"'{seen}")


@pytest.mark.parametrize(
    "name",
    [
        "answers",
        "amq.gen-JzTY20BRgKO-HjmUJj0wLg",
        "spring.gen-1a2b",
        "amq.topic/answers",
        "amq.direct/amq.gen-JzTY20BRgKO-HjmUJj0wLg",
        "amq.fanout/",
        "exchange/key",
        "asr.reply-to.web-1",
        "reply-to.3f1c0a7e-9a53-4a3d-8f4d-0c7ab7a9d0f6",
        "bus-host-app-amqp",
        "uuid:3f1c0a7e",
        "jamq.rabbitmq.reply-to",
        "",
    ],
)
def test_the_name_of_a_queue_is_shown_as_it_is(name: str) -> None:
    assert shown_address(name) == repr(name)


def test_nobody_is_shown_as_none() -> None:
    assert shown_address(None) == "None"


@given(st.text(max_size=255))
@steady
def test_whatever_a_producer_wrote_is_one_line_without_commands_to_a_terminal(name: str) -> None:
    assert shown_address(name).isprintable()
