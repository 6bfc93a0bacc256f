"""[workers.NAME] of the file: several workers in one process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from rpcb_trio import Reply, open_client
from tests.cli.conftest import Serve
from tests.cli.processes import Gate, collect
from tests.rabbitmq import Broker


@pytest.fixture
def queues(broker: Broker, workplace: Path) -> list[str]:
    first, second = broker.fresh_name(), broker.fresh_name()
    (workplace / "rpcb.toml").write_text(
        f"max_batch_size = 3\n"
        f"[workers.plain]\ntarget = 'services:shout'\nqueue = '{first}'\n"
        f"[workers.gated]\ntarget = 'services:gated'\nqueue = '{second}'\nmax_batch_size = 5\n"
    )
    return [first, second]


async def test_all_are_served_and_all_are_drained(
    serve: Serve, broker: Broker, queues: list[str], gate: Gate
) -> None:
    async with serve("--batching=fixed", "--max-wait=0.01") as serving, open_client(broker.url) as client:
        await serving.line_with("plain: serving", "max batch 3", "max wait of 10ms")
        await serving.line_with("gated: serving", "max batch 5", "max wait of 10ms")
        await serving.line_with("gated: consuming")
        replies: list[Reply] = []
        async with trio.open_nursery() as nursery:
            for queue in queues:
                nursery.start_soon(collect, client, b"hello", queue, replies)
            await gate.open()
        assert [reply.body for reply in replies] == [b"HELLO", b"HELLO"]
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
        await serving.line_with("plain: drain: drained")
        await serving.line_with("gated: drain: drained")


@pytest.mark.usefixtures("arrival")
async def test_one_that_drains_too_slowly_does_not_hurry_the_others(
    serve: Serve, broker: Broker, queues: list[str], gate: Gate, workplace: Path
) -> None:
    stuck = broker.fresh_name()
    with (workplace / "rpcb.toml").open("a") as file:
        file.write(f"[workers.stuck]\ntarget = 'services:stuck'\nqueue = '{stuck}'\ndrain_timeout = 0.1\n")
    replies: list[Reply] = []
    async with (
        serve("--worker=gated", "--worker=stuck", "--log-level=debug") as serving,
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):
        await serving.line_with("stuck: consuming")
        nursery.start_soon(collect, client, b"hello", queues[1], replies)
        with broker.channel() as channel:
            channel.basic_publish("", stuck, b"never")
        await serving.line_with("gated: batch", "closed")
        await serving.line_with("stuck: batch", "closed")
        serving.send(signal.SIGTERM)
        await serving.line_with("stuck: not drained in time")
        await gate.open()
        assert await serving.end() == 6
        await serving.line_with("gated: drain: drained")
    assert [reply.body for reply in replies] == [b"HELLO"]


async def test_some_may_be_picked(serve: Serve, queues: list[str]) -> None:
    async with serve("--worker=plain") as serving:
        await serving.line_with("plain: consuming from queue", queues[0])
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    assert not [line for line in serving.lines if "gated" in line]


async def test_one_that_can_not_start_ends_all(serve: Serve, broker: Broker, queues: list[str]) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queues[0], durable=True)
    async with serve("--declare=passive") as serving:
        assert await serving.end() == 4
