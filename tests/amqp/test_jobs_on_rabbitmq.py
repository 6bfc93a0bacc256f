"""Jobs on RabbitMQ: every process that has to do with them is killed, and the broker restarts."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from rpcb_trio import BlockingRpcClient, JobStatus, Topology, open_client
from rpcb_trio.errors import JobGone, Unroutable
from rpcb_trio.gateway import GatewayOptions, make_app
from tests.amqp.producer import declare_durable
from tests.amqp.proxy import open_proxy
from tests.amqp.serving import serving
from tests.cli.processes import command
from tests.gateway.fronts import asking
from tests.rabbitmq import Broker
from tests.scenarios import Shouting

pytestmark = pytest.mark.usefixtures("limit")

SUBMIT_AND_DIE = """
import os, signal, sys
from rpcb_trio import BlockingRpcClient

url, queue, *bodies = sys.argv[1:]
client = BlockingRpcClient(url)
for body in bodies:
    print(client.submit(body.encode(), queue=queue), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

HANGING = """
import time
from pathlib import Path

def hang(bodies):
    Path("arrived").touch()
    time.sleep(1000)
"""


async def submitted_and_killed(url: str, queue: str, *bodies: str) -> list[str]:
    """The ids of jobs whose program was killed as soon as it had them."""
    done = await trio.run_process(
        [sys.executable, "-c", SUBMIT_AND_DIE, url, queue, *bodies], capture_stdout=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    return str(done.stdout.decode()).split()


async def until(is_so: Callable[[], Any]) -> None:
    """Wait for what tells nobody."""
    while not is_so():  # noqa: ASYNC110 - files tell nobody
        await trio.sleep(0.02)


async def test_jobs_outlive_kill_9_of_their_clients_gateway_and_worker_and_a_restart_of_the_broker(
    broker: Broker, queue: str, tmp_path: Path
) -> None:
    await declare_durable(broker, queue)
    (tmp_path / "hanging.py").write_text(HANGING)
    argv = ("gateway", "--url", broker.url, "--port", "0", "--rpc", queue, "--jobs", "jobs")
    async with command(*argv, cwd=tmp_path) as gateway:
        line = await gateway.line_with("gateway: http://")
        address = line[line.index("http://") : line.index(", in front")]
        async with httpx.AsyncClient(base_url=address) as http:
            accepted = await http.post(f"/jobs/{queue}", content=b"good for http")
        gateway.send(signal.SIGKILL)
        await gateway.end()
    assert accepted.status_code == 202
    first, second = await submitted_and_killed(broker.url, queue, "good first", "good second")
    serve = ("serve", "hanging:hang", "--url", broker.url, "--queue", queue, "--journal", "off")
    async with command(*serve, cwd=tmp_path) as worker:
        await until((tmp_path / "arrived").exists)
        worker.send(signal.SIGKILL)
        await worker.end()

    await broker.stop_app()
    await broker.start_app()

    async with open_client(broker.url) as client:
        assert await client.status(first) is JobStatus.QUEUED
        async with serving(Shouting(), broker, Topology(queue=queue), check_caller=True) as running:
            await running.until_settled(3)
        for job, body in ((first, b"ok:GOOD FIRST"), (second, b"ok:GOOD SECOND")):
            assert (await client.result(job)).body == body
            await client.forget(job)
            assert await client.status(job) is JobStatus.GONE
        options = GatewayOptions(jobs=str(tmp_path / "jobs"), rpc=(queue,))
        app = make_app(client, {}, options)
        async with app.router.lifespan_context(app), asking(app) as http:
            job = accepted.json()["id"]
            await http.get(f"/jobs/{job}/events")
            assert (await http.get(f"/jobs/{job}/result")).content == b"ok:GOOD FOR HTTP"


def test_a_job_lies_in_durable_queues_and_its_own_goes_by_itself_and_holds_one_reply(
    broker: Broker, queue: str
) -> None:
    with broker.channel() as channel, BlockingRpcClient(broker.url) as client:
        channel.queue_declare(queue, durable=True)
        job = client.submit(b"x", queue=queue, keep=100, headers={"lang": "en"})
        method, properties, body = channel.basic_get(queue)
        assert (properties.delivery_mode, properties.priority, properties.expiration) == (2, 0, None)
        assert (properties.reply_to, properties.correlation_id) == (f"rpcb-job.{job}", job)
        assert (body, properties.headers, method.redelivered) == (b"x", {"lang": "en"}, False)
        arguments = {"x-expires": 100_000, "x-max-length": 1}
        channel.queue_declare(properties.reply_to, durable=True, arguments=arguments)  # it is so already
        for reply in (b"old", b"new"):
            channel.basic_publish("", properties.reply_to, reply)
        assert client.result(job).body == b"new"
        assert client.status(job) is JobStatus.DONE
        client.forget(job)
        with pytest.raises(JobGone):
            client.result(job)


async def test_a_broken_connection_ends_no_wait_and_no_refusal_harms_one(broker: Broker, queue: str) -> None:
    await declare_durable(broker, queue)
    async with open_proxy(broker.url) as proxy, open_client(proxy.url) as client:
        job = await client.submit(b"good", queue=queue)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait() -> None:
                assert (await client.result(job)).body == b"ok:GOOD"

            with pytest.raises(Unroutable):
                await client.submit(b"x", queue=broker.fresh_name("nowhere"))
            proxy.cut()
            again = await client.submit(b"good again", queue=queue)
            async with serving(Shouting(), broker, Topology(queue=queue)) as running:
                await running.until_settled(2)
        assert (await client.result(again)).body == b"ok:GOOD AGAIN"
        await client.forget(job)
        await client.forget(again)
