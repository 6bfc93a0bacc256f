"""The embedded broker and RabbitMQ take the same topologies, and refuse the same ones in the same words."""

from __future__ import annotations

from typing import Any

import msgspec
import pika  # type: ignore[import-untyped] # it carries no types
import pytest

from rpcb_trio import MemoryBroker, SettingError, Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import TopologyMismatch
from rpcb_trio.transports import Transport
from tests.rabbitmq import Broker


@pytest.fixture(params=["embedded", "RabbitMQ"])
def either(request: pytest.FixtureRequest) -> Transport:
    """A way to a broker."""
    if request.param == "embedded":
        return MemoryBroker()
    return AmqpTransport(request.getfixturevalue("broker").url)


@pytest.fixture
def bound(broker: Broker, queue: str) -> Topology:
    """A queue that is bound to an exchange."""
    return Topology(queue=queue, exchange=broker.fresh_name("exchange"), routing_keys=("k",))


async def opens(transport: Transport, topology: Topology) -> None:
    async with transport.open_session(topology, prefetch=1):
        pass


OTHERWISE: list[tuple[dict[str, Any], str]] = [
    ({"durable": False, "exchange": "", "routing_keys": ()}, "queue .* another durable"),
    ({"queue_type": "quorum"}, "queue .* another x-queue-type"),
    ({"arguments": {"x-max-priority": 5}}, "queue .* another x-max-priority"),
    ({"arguments": {"x-message-ttl": 1000}}, "queue .* another x-message-ttl"),
    ({"exchange_type": "direct"}, "exchange .* another type"),
    ({"exchange_type": "fanout"}, "exchange .* another type"),
    ({"durable": False}, "exchange .* another durable"),
]


@pytest.mark.parametrize(("changes", "says"), OTHERWISE, ids=[says for _, says in OTHERWISE])
async def test_what_was_declared_otherwise_is_a_mismatch_that_names_the_difference(
    either: Transport, bound: Topology, changes: dict[str, Any], says: str
) -> None:
    await opens(either, bound)
    other = msgspec.structs.replace(bound, **changes)
    with pytest.raises(TopologyMismatch, match=f"{says}; set that so, or delete it, or use declare=passive"):
        await opens(either, other)
    await opens(either, bound)


@pytest.mark.parametrize(
    "changes",
    [
        {"declare": "passive"},
        {"declare": "passive", "durable": False},
        {"declare": "passive", "arguments": {"x-max-priority": 5}},
        {"declare": "never", "exchange": "", "routing_keys": ()},
        {"routing_keys": ("k", "another")},
        {"arguments": {"x-queue-type": "classic"}},
        {"dead_letter_exchange": "amq.fanout"},
        {"exchange": "amq.topic"},
        {"exchange": "amq.fanout", "exchange_type": "fanout", "routing_keys": ()},
    ],
    ids=repr,
)
async def test_what_differs_in_nothing_that_counts_is_taken_as_it_is(
    either: Transport, bound: Topology, changes: dict[str, Any]
) -> None:
    await opens(either, bound)
    await opens(either, msgspec.structs.replace(bound, **changes))


@pytest.mark.parametrize("declare", ["passive", "never"])
async def test_a_missing_queue_is_a_mismatch_where_it_is_not_to_be_declared(
    either: Transport, queue: str, declare: Any
) -> None:
    with pytest.raises(TopologyMismatch, match=f"queue '{queue}': it does not exist; .*declare=active"):
        await opens(either, Topology(queue=queue, declare=declare))


@pytest.mark.parametrize(
    ("setting", "what"), [("exchange", "exchange"), ("dead_letter_exchange", "dead-letter exchange")]
)
async def test_a_missing_exchange_is_a_mismatch_where_it_is_not_to_be_declared(
    either: Transport, broker: Broker, queue: str, setting: str, what: str
) -> None:
    await opens(either, Topology(queue=queue))
    missing = broker.fresh_name("exchange")
    passive: dict[str, Any] = {"declare": "passive", setting: missing}
    with pytest.raises(TopologyMismatch, match=f"{what} '{missing}': it does not exist"):
        await opens(either, Topology(queue=queue, **passive))


@pytest.mark.parametrize("prefetch", [0, -1, 65536])
async def test_a_prefetch_that_amqp_can_not_carry_is_a_wrong_setting(
    either: Transport, queue: str, prefetch: int
) -> None:
    with pytest.raises(SettingError, match="prefetch is 1 to 65535"):
        async with either.open_session(Topology(queue=queue), prefetch=prefetch):
            pass


REFUSED: list[dict[str, Any]] = [
    {"x-max-priority": 256},
    {"x-max-priority": -1},
    {"x-max-priority": "5"},
    {"x-max-length": -1},
    {"x-max-length": "many"},
    {"x-max-length-bytes": -1},
    {"x-message-ttl": -1},
    {"x-message-ttl": "1000"},
    {"x-expires": 0},
    {"x-overflow": "refuse"},
    {"x-single-active-consumer": "true"},
    {"x-queue-type": "fast"},
    {"x-dead-letter-exchange": 5},
    {"x-dead-letter-exchange": "amq.topic", "x-dead-letter-routing-key": 5},
    {"x-dead-letter-routing-key": "k"},
]

TAKEN: list[dict[str, Any]] = [
    {"x-max-priority": 255},
    {"x-max-length": 0},
    {"x-max-length-bytes": 2**40},
    {"x-message-ttl": 0},
    {"x-message-ttl": 2**32 - 1},
    {"x-expires": 2**32 - 1},
    {"x-overflow": "drop-head"},
    {"x-overflow": "reject-publish"},
    {"x-overflow": "reject-publish-dlx"},
    {"x-single-active-consumer": True},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "k"},
    {"x-mine": [1, None, {"a": "b"}]},
]


@pytest.mark.parametrize("arguments", REFUSED, ids=repr)
def test_an_argument_that_is_a_wrong_setting_is_one_that_rabbitmq_refuses(
    broker: Broker, queue: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(SettingError, match="queue_argument x-"):
        Topology(queue=queue, arguments=arguments)
    with broker.channel() as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker, match="406"):
        channel.queue_declare(queue, durable=True, arguments=arguments)


@pytest.mark.parametrize("arguments", TAKEN, ids=repr)
async def test_an_argument_that_is_no_wrong_setting_is_taken(
    either: Transport, queue: str, arguments: dict[str, Any]
) -> None:
    await opens(either, Topology(queue=queue, arguments=arguments))
