"""A client's jobs on RabbitMQ: what its queues are, what restarts leave of them, what it may refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from anyio.from_thread import BlockingPortal

from rpcb_trio import BlockingRpcClient, JobStatus, Topology, open_client
from rpcb_trio._client._jobs import PREFIX
from rpcb_trio.errors import JobGone, PublishRefused, Unroutable
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.proxy import open_proxy
from tests.amqp.serving import serving
from tests.rabbitmq import Broker, Node
from tests.scenarios import Shouting

pytestmark = pytest.mark.usefixtures("limit")

ROOT = Path(__file__).parents[2]

SUBMIT_AND_DIE = """
import os, signal, sys
from rpcb_trio import BlockingRpcClient

url, queue = sys.argv[1:]
print(BlockingRpcClient(url).submit(b"good job", queue=queue), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def killed_submitter(url: str, queue: str) -> str:
    """The id of a job whose program was killed as soon as it had it."""
    done = await trio.run_process(
        [sys.executable, "-c", SUBMIT_AND_DIE, url, queue],
        capture_stdout=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == -9
    return str(done.stdout.decode().strip())


async def test_a_job_outlives_its_program_the_broker_s_restart_and_the_worker_that_had_it(
    broker: Broker, queue: str
) -> None:
    await declare_durable(broker, queue)
    job = await killed_submitter(broker.url, queue)
    async with open_client(broker.url) as client:
        with trio.move_on_after(0.2):
            await client.result(job)
        await broker.stop_app()
        await broker.start_app()
        assert await client.status(job) is JobStatus.QUEUED
        async with serving(Shouting(), broker, Topology(queue=queue), check_caller=True) as running:
            await running.until_settled(1)
        assert await client.status(job) is JobStatus.DONE
        await broker.stop_app()
        await broker.start_app()
        assert (await client.result(job)).body == b"ok:GOOD JOB"
        await client.forget(job)
        assert await client.status(job) is JobStatus.GONE
