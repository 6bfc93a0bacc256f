"""`serve` on a real broker: its life from the first line of the log to the exit code."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import trio
from yarl import URL

from rpcb_trio import Reply, open_client
from rpcb_trio.instruments import read_audit
from tests.cli.conftest import Serve
from tests.cli.processes import PATIENCE, Gate, collect
from tests.rabbitmq import Broker


async def test_a_target_and_a_queue_are_all_it_needs(serve: Serve, broker: Broker, queue: str) -> None:
    async with serve("services:shout", "--queue", queue) as serving, open_client(broker.url) as client:
        start = await serving.line_with("serving services:shout")
        await serving.line_with("consuming from queue", queue)
        assert (await client.call(b"hello", queue=queue)).body == b"HELLO"
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    for part in (queue, "prefetch 64", "max batch 32", "auto batching", "1 replica"):
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
            assert await serving.insist(signum) == code
            await serving.line_with(f"{queue}: stopped with 1 request(s) unanswered; the broker redelivers")
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
    url = str(URL(broker.url).with_password("hunter2"))
    async with serve("services:shout", "--queue", queue, url=url) as serving:
        assert await serving.end() == 3
        assert "refused" in await serving.line_with("rpcb-trio: ")
    assert not [line for line in serving.lines if "hunter2" in line or "Traceback" in line]


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_a_service_that_can_not_be_warmed_up_is_one_line_with_its_place_and_a_code_of_its_own(
    executor: str, serve: Serve, queue: str
) -> None:
    async with serve("services:Cold", "--queue", queue, "--executor", executor) as serving:
        assert await serving.end() == 16
        line = await serving.line_with("rpcb-trio: ")
    assert line.startswith(f"rpcb-trio: {queue}: Cold: warm_up failed: RuntimeError: the weights are gone (")
    assert "services.py:" in line
    assert not [line for line in serving.lines if "Traceback" in line]
    assert len([line for line in serving.lines if "Cold.ondevice is never called" in line]) == 1


async def test_replies_tell_of_their_batch_and_the_audit_has_it(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    argv = ("services:shout", "--queue", queue, "--batch-headers", "--audit=audit.jsonl")
    async with serve(*argv) as serving, open_client(broker.url) as client:
        await serving.line_with("consuming from queue", queue)
        reply = await client.call(b"hello", queue=queue)
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    [found] = read_audit(workplace / "audit.jsonl")
    [batch] = found.batches
    [request] = batch.requests
    assert (found.start.worker, found.start.setup.queue) == (queue, queue)
    assert dict(reply.headers) == {
        "rpcb-batch": batch.id,
        "rpcb-batch-size": 1,
        "rpcb-wait": round(1000 * request.wait),
    }


async def test_json_logs_are_one_object_a_line(serve: Serve, queue: str) -> None:
    async with serve("services:shout", "--queue", queue, "--log-format=json") as serving:
        await serving.line_with("consuming")
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    records = [json.loads(line) for line in serving.lines]
    assert all(
        record.keys() - {"worker", "queue"} == {"time", "level", "logger", "message"} for record in records
    )
    assert {record["queue"] for record in records if "drain:" in record["message"]} == {queue}
    assert records[0]["time"].endswith("Z")
    assert {record["logger"] for record in records} == {"rpcb_trio"}
