"""What a session declares, and what it says where the broker disagrees."""

from __future__ import annotations

import msgspec
import pytest

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import TopologyMismatch
from rpcb_trio.instruments import Settled
from tests.amqp.producer import Producer, answer
from tests.rabbitmq import Broker


async def opens(transport: AmqpTransport, topology: Topology) -> None:
    async with transport.open_session(topology, prefetch=10):
        pass


async def test_a_queue_is_bound_with_each_of_its_routing_keys(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    exchange = broker.fresh_name("exchange")
    topology = Topology(queue=queue, exchange=exchange, routing_keys=("rpc-en", "asr-en"))
    async with transport.open_session(topology, prefetch=10) as session:
        for key in topology.routing_keys:
            await Producer(broker, queue).send(b"a", exchange=exchange, key=key)
        assert await answer(session, 2) == [Settled.NO_REPLY_TO] * 2
    await opens(transport, topology)


@pytest.mark.parametrize("exchange_type", ["fanout", "headers"])
async def test_an_exchange_that_needs_no_key_is_bound_without_one(
    broker: Broker, transport: AmqpTransport, queue: str, exchange_type: str
) -> None:
    exchange = broker.fresh_name("exchange")
    topology = msgspec.convert(
        {"queue": queue, "exchange": exchange, "exchange_type": exchange_type}, type=Topology
    )
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, queue).send(b"a", exchange=exchange)
        await answer(session, 1)


async def test_an_exchange_that_is_only_checked_needs_no_key(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    await opens(transport, Topology(queue=queue))
    topology = Topology(queue=queue, exchange="amq.topic", declare="passive")
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, queue).send(b"a")
        await answer(session, 1)


async def test_an_exchange_of_the_brokers_own_is_used_as_it_is(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    topology = Topology(queue=queue, exchange="amq.topic", routing_keys=(f"{queue}.*",))
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, queue).send(b"a", exchange="amq.topic", key=f"{queue}.key")
        await answer(session, 1)


async def test_a_quorum_queue_redelivers_and_replies_like_any_other(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    topology = Topology(queue=queue, queue_type="quorum", arguments={"x-delivery-limit": 5})
    async with transport.open_session(topology, prefetch=10) as session:
        await Producer(broker, queue).send(b"a")
        await session.requests.receive()
    async with transport.open_session(topology, prefetch=10) as session:
        again = await session.requests.receive()
    assert again.redelivered
    assert again.headers["x-delivery-count"] == 1


async def test_a_dead_letter_exchange_that_is_missing_is_created_and_told_that_no_queue_is_bound_to_it(
    broker: Broker, transport: AmqpTransport, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = broker.fresh_name("exchange")
    topology = Topology(queue=queue, dead_letter_exchange=exchange)
    for _ in range(2):
        await opens(transport, topology)
    [line] = [record.getMessage() for record in caplog.records if "dead-letter" in record.getMessage()]
    assert f"{exchange!r} is new, so no queue is bound to it" in line
    await opens(transport, Topology(queue=broker.fresh_name(), exchange=exchange, routing_keys=("k",)))


async def test_a_dead_letter_exchange_of_any_type_will_do(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    await opens(transport, Topology(queue=queue, dead_letter_exchange="amq.headers"))


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"queue_type": "quorum"}, "x-queue-type"),
        ({"durable": False}, "durable"),
        ({"arguments": {"x-max-priority": 5}}, "x-max-priority"),
        ({"arguments": {"x-dead-letter-exchange": "amq.topic"}}, "x-dead-letter-exchange"),
    ],
)
async def test_a_queue_that_exists_otherwise_is_a_mismatch_that_names_the_argument(
    transport: AmqpTransport, topology: Topology, changes: dict[str, object], argument: str
) -> None:
    await opens(transport, topology)
    other = msgspec.structs.replace(topology, **changes)
    with pytest.raises(TopologyMismatch, match=f"{topology.queue}.* another {argument}; .*declare=passive"):
        await opens(transport, other)
    await opens(transport, msgspec.structs.replace(other, declare="passive", dead_letter_exchange=None))


async def test_dead_letters_leave_the_queue_alone_so_that_producers_may_declare_it_as_ever(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True)
    await opens(transport, Topology(queue=queue, dead_letter_exchange="amq.topic"))
    await opens(transport, Topology(queue=queue, dead_letter_exchange="", dead_letter_routing_key="dead"))
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True)


async def test_a_queue_with_dead_letters_of_its_own_is_taken_with_the_argument_that_the_refusal_names(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-dead-letter-exchange": "amq.topic"})
    topology = Topology(queue=queue, dead_letter_exchange="amq.topic")
    with pytest.raises(TopologyMismatch, match=r"queue_argument x-dead-letter-exchange=\.\.\. sets it"):
        await opens(transport, topology)
    own = {"x-dead-letter-exchange": "amq.topic"}
    await opens(transport, msgspec.structs.replace(topology, arguments=own))


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("declare", ["passive", "never"])
async def test_a_queue_that_goes_with_its_last_consumer_is_warned_of_at_the_start(
    broker: Broker,
    queue: str,
    declare: str,
    durable: bool,  # noqa: FBT001 - as it is declared
    caplog: pytest.LogCaptureFixture,
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=durable, auto_delete=True)
    topology = msgspec.convert({"queue": queue, "declare": declare}, type=Topology)
    async with AmqpTransport(broker.url).open_session(topology, prefetch=10):
        pass
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"queue {queue}: it is auto-delete: when its last consumer leaves")


@pytest.mark.parametrize("declare", ["active", "passive"])
async def test_a_queue_that_goes_when_nobody_uses_it_is_warned_of_once(
    broker: Broker, transport: AmqpTransport, queue: str, declare: str, caplog: pytest.LogCaptureFixture
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-expires": 60_000})
    settings = {"queue": queue, "declare": declare, "arguments": {"x-expires": 60_000}}
    for _ in range(2):
        await opens(transport, msgspec.convert(settings, type=Topology))
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "when nobody has consumed it for 60000 ms, it goes with all that waits in it" in line


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("declare", ["active", "passive", "never"])
async def test_a_queue_that_stays_is_not_warned_of_and_none_is_made_by_looking(  # noqa: PLR0917 - pytest gives them
    broker: Broker,
    transport: AmqpTransport,
    queue: str,
    declare: str,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    settings = {"queue": queue, "declare": declare, "arguments": {"x-queue-type": kind}}
    await opens(transport, msgspec.convert(settings, type=Topology))
    other = broker.fresh_name()
    with pytest.raises(TopologyMismatch, match="does not exist"):
        await opens(transport, Topology(queue=other, declare="never"))
    with pytest.raises(TopologyMismatch, match="does not exist"):
        await opens(transport, Topology(queue=other, declare="passive"))
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


async def test_an_auto_delete_queue_is_never_taken_for_one_of_ours(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, auto_delete=True)
    with pytest.raises(TopologyMismatch, match="another auto_delete; delete it, or use declare=passive"):
        await opens(transport, Topology(queue=queue))


async def test_an_exchange_of_another_type_is_a_mismatch(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    topology = Topology(queue=queue, exchange=broker.fresh_name("exchange"), routing_keys=("k",))
    await opens(transport, topology)
    with pytest.raises(TopologyMismatch, match=f"exchange '{topology.exchange}'.* another type"):
        await opens(transport, msgspec.structs.replace(topology, exchange_type="direct"))


@pytest.mark.parametrize("declare", ["passive", "never"])
async def test_a_missing_queue_is_a_mismatch_where_it_is_not_ours_to_declare(
    transport: AmqpTransport, queue: str, declare: str
) -> None:
    topology = msgspec.convert({"queue": queue, "declare": declare}, type=Topology)
    with pytest.raises(TopologyMismatch, match=f"queue '{queue}': it does not exist; .*declare=active"):
        await opens(transport, topology)


async def test_a_missing_exchange_is_a_mismatch_where_it_is_not_ours_to_declare(
    broker: Broker, transport: AmqpTransport, topology: Topology
) -> None:
    await opens(transport, topology)
    missing = broker.fresh_name("exchange")
    for setting in ("exchange", "dead_letter_exchange"):
        passive = msgspec.structs.replace(topology, declare="passive", **{setting: missing})
        with pytest.raises(TopologyMismatch, match=f"exchange '{missing}': it does not exist"):
            await opens(transport, passive)


@pytest.mark.parametrize("declare", ["passive", "never"])
async def test_an_existing_queue_serves_without_being_declared(
    broker: Broker, transport: AmqpTransport, topology: Topology, declare: str
) -> None:
    await opens(transport, topology)
    undeclared = msgspec.convert({"queue": topology.queue, "declare": declare}, type=Topology)
    async with transport.open_session(undeclared, prefetch=10) as session:
        await Producer(broker, topology.queue).send(b"a")
        await answer(session, 1)


async def test_a_queue_that_another_connection_has_for_itself_is_a_mismatch(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, exclusive=True)
        with pytest.raises(TopologyMismatch, match="another connection has it for itself"):
            await opens(transport, Topology(queue=queue, durable=False))


async def test_a_queue_that_another_consumer_has_for_itself_is_no_lack_of_rights(
    broker: Broker, transport: AmqpTransport, queue: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue)
        channel.basic_consume(queue, lambda *_: None, exclusive=True)
        with pytest.raises(TopologyMismatch, match="another consumer has it for itself; end that"):
            await opens(transport, Topology(queue=queue, durable=False))
