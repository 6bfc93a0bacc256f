"""What no broker would take is refused where it is written, and the setting named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rpcb_trio import SettingError, Topology

OWN = "names that begin with amq. are the broker's own; use another name"

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"queue": ""}, "queue must not be empty"),
    ({"queue": "\ud800"}, r"queue '\\ud800' can't be put into AMQP"),
    ({"queue": "q" * 256}, "queue .* has 256 bytes, and AMQP carries 255"),
    ({"queue": "é" * 128}, "queue .* has 256 bytes, and AMQP carries 255"),
    ({"queue": "amq.mine"}, f"queue 'amq.mine': {OWN}, or declare=passive"),
    ({"exchange": "amq.mine", "routing_keys": ("k",)}, f"exchange 'amq.mine': {OWN}, or one of amq.direct"),
    ({"dead_letter_exchange": "amq.mine"}, f"dead_letter_exchange 'amq.mine': {OWN}"),
    ({"exchange": "\udcff", "routing_keys": ("k",)}, r"exchange '\\udcff' can't be put into AMQP"),
    ({"exchange": "e", "routing_keys": ("k" * 256,)}, "routing key .* has 256 bytes"),
    ({"routing_keys": ("k",)}, "routing_keys need an exchange"),
    ({"exchange": "e"}, "exchange 'e' of type topic .* give a routing_key, .* fanout or headers"),
    ({"exchange": "amq.direct", "exchange_type": "direct"}, "of type direct .* routing_key"),
    (
        {"exchange": "e", "exchange_type": "tree"},
        "exchange_type is 'tree'; set it to direct, topic, fanout",
    ),
    ({"declare": "later"}, "declare is 'later'; set it to active, passive or never"),
    ({"queue_type": "stream"}, "queue_type is 'stream'; set it to classic or quorum"),
    ({"on_refused_reply": "drop"}, "on_refused_reply is 'drop'; set it to dead-letter or requeue"),
    ({"queue_type": "quorum", "durable": False}, "a quorum queue is durable"),
    ({"dead_letter_routing_key": "k"}, "dead_letter_routing_key needs a dead_letter_exchange"),
    ({"arguments": {"x-queue-type": "stream"}}, "use queue_type classic or quorum"),
    ({"arguments": {"x-mine": object()}}, "queue_argument x-mine .* of a type that AMQP lacks"),
    ({"arguments": {"x-mine": [{"a": {1}}]}}, "queue_argument x-mine .* of a type that AMQP lacks"),
    ({"arguments": {"x-mine": 2**63}}, "queue_argument x-mine .* of a type that AMQP lacks"),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=range(len(WRONG)))
def test_what_no_broker_would_take_is_a_wrong_setting(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Topology(**{"queue": "q", **settings})
    with pytest.raises(SettingError, match=says):
        msgspec.structs.replace(Topology(queue="q"), **settings)


def test_names_of_the_brokers_own_are_used_where_nothing_is_declared() -> None:
    Topology(queue="amq.gen-1", declare="passive")
    Topology(queue="q", exchange="amq.topic", routing_keys=("a.#",), dead_letter_exchange="amq.fanout")
