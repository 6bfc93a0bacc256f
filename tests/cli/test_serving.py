"""`serve` on a real broker: its life from the first line of the log to the exit code."""

from __future__ import annotations

import json
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest
import trio

from rpcb_trio import Reply, RpcClient, open_client
from tests.cli.processes import PATIENCE, Command, Gate, command
from tests.rabbitmq import Broker

SERVICES = """
from pathlib import Path

passed = False

def shout(bodies):
    return [body.upper() for body in bodies]

def gated(bodies):
    global passed
    if not passed:
        Path("gate").read_text()
        passed = True
    return shout(bodies)

def stuck(bodies):
    Path("arrival").read_text()

class Service:
    def decode(self, body): return body
    def infer(self, items): return items
    def encode(self, outcome): return b""

class SlowToWarm(Service):
    def warm_up(self):
        Path("arrival").read_text()
        Path("gate").read_text()

class Cold(Service):
    def warm_up(self):
        raise RuntimeError("the weights are gone")
"""

SLOW_TO_IMPORT = """
from pathlib import Path
Path("arrival").read_text()
Path("gate").read_text()
"""


class Serve(Protocol):
    """Runs `serve` against the tests' broker."""

    def __call__(self, *argv: str, url: str = ...) -> AbstractAsyncContextManager[Command]: ...


@pytest.fixture
def serve(broker: Broker, workplace: Path) -> Serve:
    (workplace / "services.py").write_text(SERVICES)
    (workplace / "slow.py").write_text(SLOW_TO_IMPORT)

    def start(*argv: str, url: str = broker.url) -> AbstractAsyncContextManager[Command]:
        return command("serve", *argv, cwd=workplace, RPCB_URL=url)

    return start


@pytest.fixture
def gate(workplace: Path) -> Gate:
    return Gate(workplace / "gate")


@pytest.fixture
def arrival(workplace: Path) -> Gate:
    return Gate(workplace / "arrival")


async def collect(client: RpcClient, body: bytes, queue: str, replies: list[Reply]) -> None:
    replies.append(await client.call(body, queue=queue))


async def test_a_target_and_a_queue_are_all_it_needs(serve: Serve, broker: Broker, queue: str) -> None:
    async with serve("services:shout", "--queue", queue) as serving, open_client(broker.url) as client:
        start = await serving.line_with("serving services:shout")
        await serving.line_with("consuming from queue", queue)
        assert (await client.call(b"hello", queue=queue)).body == b"HELLO"
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    for part in (queue, "prefetch 64", "max batch 32", "max wait 0 s", "1 replica"):
        assert part in start


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_in_mid_batch_answers_all_that_is_held(
    signum: signal.Signals, serve: Serve, broker: Broker, queue: str, gate: Gate
) -> None:
    replies: list[Reply] = []
    async with (
        serve("services:gated", "--queue", queue, "--max-batch-size=2", "--log-level=debug") as serving,
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):
        await serving.line_with("consuming from queue", queue)
        for body in (b"a", b"b", b"c"):
            nursery.start_soon(collect, client, body, queue, replies)
        await serving.line_with("batch 1 closed")
        serving.send(signum)
        await serving.line_with("drain: finish")
        await gate.open()
        assert await serving.end() == 0
        await serving.line_with("drain: drained")
    assert sorted(reply.body for reply in replies) == [b"A", b"B", b"C"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.usefixtures("gate")
async def test_the_second_signal_stops_at_once_and_the_request_is_redelivered(
    signum: signal.Signals, code: int, serve: Serve, broker: Broker, queue: str
) -> None:
    async with serve("services:gated", "--queue", queue, "--log-level=debug") as serving:
        await serving.line_with("consuming from queue", queue)
        with broker.channel() as channel:
            channel.basic_publish("", queue, b"a")
            await serving.line_with("batch 1 closed")
            serving.send(signum)
            await serving.line_with(f"{signum.name}: draining 1 worker")
            serving.send(signum)
            assert await serving.end() == code
            method, _, body = next(channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE))
    assert (method.redelivered, body) == (True, b"a")
    assert not [line for line in serving.lines if "Traceback" in line]


@pytest.mark.usefixtures("gate")
async def test_a_drain_that_takes_too_long_has_an_exit_code_of_its_own(
    serve: Serve, broker: Broker, queue: str
) -> None:
    argv = ("services:gated", "--queue", queue, "--log-level=debug", "--drain-timeout=0.1")
    async with serve(*argv) as serving:
        await serving.line_with("consuming from queue", queue)
        with broker.channel() as channel:
            channel.basic_publish("", queue, b"a")
        await serving.line_with("batch 1 closed")
        serving.send(signal.SIGTERM)
        assert await serving.end() == 6
        await serving.line_with("rpcb-trio: drain_timeout of 0.1 s ran out with 1 request(s)")


@pytest.mark.parametrize("target", ["slow:anything", "services:SlowToWarm"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("gate")
async def test_a_signal_before_the_start_ends_it_at_once(
    target: str, signum: signal.Signals, serve: Serve, queue: str, arrival: Gate
) -> None:
    async with serve(target, "--queue", queue) as serving:
        await arrival.open()
        serving.send(signum)
        assert await serving.end() == 0
    assert not [line for line in serving.lines if "Traceback" in line]


async def test_a_refused_login_is_one_line_without_the_password(
    serve: Serve, broker: Broker, queue: str
) -> None:
    url = broker.url.replace("guest@", "hunter2@")
    async with serve("services:shout", "--queue", queue, url=url) as serving:
        assert await serving.end() == 3
        assert "guest" in await serving.line_with("rpcb-trio: ")
    assert not [line for line in serving.lines if "hunter2" in line or "Traceback" in line]


async def test_a_queue_that_is_another_is_one_line_that_names_the_argument(
    serve: Serve, broker: Broker, queue: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-max-priority": 5})
    async with serve("services:shout", "--queue", queue) as serving:
        assert await serving.end() == 4
        line = await serving.line_with("rpcb-trio: ")
    assert queue in line
    assert "x-max-priority" in line


async def test_a_queue_that_is_not_there_is_a_mismatch_if_it_is_only_looked_for(
    serve: Serve, queue: str
) -> None:
    async with serve("services:shout", "--queue", queue, "--declare=passive") as serving:
        assert await serving.end() == 4
        assert queue in await serving.line_with("rpcb-trio: ")


async def test_a_broker_that_is_not_there_is_one_line(serve: Serve, queue: str) -> None:
    async with serve("services:shout", "--queue", queue, url="amqp://127.0.0.1:1/") as serving:
        assert await serving.end() == 5
        assert "127.0.0.1:1" in await serving.line_with("rpcb-trio: ")


async def test_an_error_that_nobody_foresaw_is_a_crash_with_its_traceback(serve: Serve, queue: str) -> None:
    async with serve("services:Cold", "--queue", queue) as serving:
        assert await serving.end() == 1
        await serving.line_with("crashed: the weights are gone")
        await serving.line_with("RuntimeError: the weights are gone")


async def test_json_logs_are_one_object_a_line(serve: Serve, queue: str) -> None:
    async with serve("services:shout", "--queue", queue, "--log-format=json") as serving:
        await serving.line_with("consuming")
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    records = [json.loads(line) for line in serving.lines]
    assert all(record.keys() == {"time", "level", "logger", "message"} for record in records)
    assert records[0]["time"].endswith("Z")
    assert {record["logger"] for record in records} == {"rpcb_trio"}


class TestSeveralWorkers:
    """[workers.NAME] of the file, in one process."""

    @pytest.fixture
    def queues(self, broker: Broker, workplace: Path) -> list[str]:
        first, second = broker.fresh_name(), broker.fresh_name()
        (workplace / "rpcb.toml").write_text(
            f"max_batch_size = 3\n"
            f"[workers.plain]\ntarget = 'services:shout'\nqueue = '{first}'\n"
            f"[workers.gated]\ntarget = 'services:gated'\nqueue = '{second}'\nmax_batch_size = 5\n"
        )
        return [first, second]

    async def test_all_are_served_and_all_are_drained(
        self, serve: Serve, broker: Broker, queues: list[str], gate: Gate
    ) -> None:
        async with serve("--max-wait=0.01") as serving, open_client(broker.url) as client:
            await serving.line_with("plain: serving", "max batch 3", "max wait 0.01 s")
            await serving.line_with("gated: serving", "max batch 5", "max wait 0.01 s")
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
        self, serve: Serve, broker: Broker, queues: list[str], gate: Gate, workplace: Path
    ) -> None:
        stuck = broker.fresh_name()
        with (workplace / "rpcb.toml").open("a") as file:
            file.write(
                f"[workers.stuck]\ntarget = 'services:stuck'\nqueue = '{stuck}'\ndrain_timeout = 0.1\n"
            )
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
            await serving.line_with("stuck: gave up draining")
            await gate.open()
            assert await serving.end() == 6
            await serving.line_with("gated: drain: drained")
        assert [reply.body for reply in replies] == [b"HELLO"]

    async def test_some_may_be_picked(self, serve: Serve, queues: list[str]) -> None:
        async with serve("--worker=plain") as serving:
            await serving.line_with("plain: consuming from queue", queues[0])
            serving.send(signal.SIGTERM)
            assert await serving.end() == 0
        assert not [line for line in serving.lines if "gated" in line]

    async def test_one_that_can_not_start_ends_all(self, serve: Serve, queues: list[str]) -> None:
        async with serve("--declare=passive", "--queue", queues[0]) as serving:
            assert await serving.end() == 4
