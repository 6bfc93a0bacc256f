"""A request that the broker refuses ends its own call, and no other that is under way on the same client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from rpcb_trio import Topology, open_client
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import PublishRefused, RequestTooBig
from tests.amqp.test_replies_that_fail import SMALL, strict
from tests.amqp.users import user_with
from tests.amqp.watched import Model, working
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")


@asynccontextmanager
async def calls_under_way(broker: Broker, queue: str) -> AsyncIterator[tuple[object, dict[int, bytes]]]:
    """A client with calls that are answered only when this is left; all must be."""
    model, replies = Model(60), dict[int, bytes]()
    async with (
        working(model, AmqpTransport(broker.url), Topology(queue=queue), 1) as seen,
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):

        async def call(number: int) -> None:
            replies[number] = (await client.call(b"good %d" % number, queue=queue)).body

        for number in range(8):
            nursery.start_soon(call, number)
        await seen.until(lambda seen: seen.batches)
        yield client, replies
        assert replies == {}
        model.let_go.set()
    assert replies == {number: b"GOOD %d" % number for number in range(8)}


async def test_a_request_above_the_brokers_limit_fails_alone_and_the_limit_is_learned(
    broker: Broker, queue: str
) -> None:
    async with strict(broker), calls_under_way(broker, queue) as (client, _):
        for size in (2 * SMALL, SMALL + 1):
            with pytest.raises(
                RequestTooBig, match=f"has {size} bytes, and the broker takes {SMALL} at most"
            ):
                await client.call(bytes(size), queue=queue)  # type: ignore[attr-defined] # a client's


async def test_a_request_above_the_usual_limit_fails_alone(broker: Broker, queue: str) -> None:
    size = (128 if broker.version < (4, 0) else 16) * 2**20 + 1
    async with calls_under_way(broker, queue) as (client, _):
        with pytest.raises(RequestTooBig, match=f"has {size} bytes"):
            await client.call(bytes(size), queue=queue)  # type: ignore[attr-defined] # a client's


async def test_what_a_broker_finds_too_large_goes_by_the_store_and_so_does_the_reply(
    broker: Broker, queue: str, tmp_path: Path
) -> None:
    model, body = Model(0), bytes(3 * SMALL)
    async with (
        strict(broker),
        working(model, AmqpTransport(broker.url), Topology(queue=queue), 4, claims=[str(tmp_path)]),
        open_client(broker.url, claims=str(tmp_path)) as client,
    ):
        replies = [await client.call(body, queue=queue) for _ in range(2)]  # neither side knows the limit yet
    assert [reply.body for reply in replies] == [body, body]
    assert [*tmp_path.iterdir()] == []  # noqa: ASYNC240 - a test's own directory


async def test_many_large_requests_at_once_are_all_answered_and_a_larger_one_fails_alone(
    broker: Broker, queue: str
) -> None:
    model, endings = Model(0), list[object]()

    async def call(size: int) -> None:
        try:
            endings.append(len((await client.call(bytes(size), queue=queue)).body))
        except RequestTooBig:
            endings.append("too big")

    async with (
        strict(broker),
        working(model, AmqpTransport(broker.url), Topology(queue=queue), 4),
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):
        for n in range(40):
            nursery.start_soon(call, SMALL - n if n % 4 else SMALL + 1 + n)
    assert endings.count("too big") == 10
    assert sorted(each for each in endings if each != "too big") == [  # type: ignore[type-var] # numbers
        SMALL - n for n in range(39, 0, -1) if n % 4
    ]


async def test_a_call_to_an_exchange_without_the_right_fails_alone(broker: Broker, queue: str) -> None:
    async with working(Model(60), AmqpTransport(broker.url), Topology(queue=queue), 1):
        pass  # declares it
    mine = await user_with(broker, queue, "^$", "^amq\\.(default|fanout)$", ".*")
    model = Model(60)
    async with (
        working(model, AmqpTransport(broker.url), Topology(queue=queue), 1) as seen,
        open_client(mine) as client,
        trio.open_nursery() as nursery,
    ):
        replies = list[bytes]()

        async def call() -> None:
            replies.append((await client.call(b"good", queue=queue)).body)

        nursery.start_soon(call)
        await seen.until(lambda seen: seen.batches)
        with pytest.raises(PublishRefused, match=r"exchange 'amq\.topic'"):
            await client.call(b"x", exchange="amq.topic", routing_key=queue)
        model.let_go.set()
    assert replies == [b"GOOD"]
