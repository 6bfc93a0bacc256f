"""Two workers in one process, on two queues: what is done for both is the same, but only one has metrics."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from functools import partial

import trio
from prometheus_client import CollectorRegistry

from benches.servers.job import Job, this_job
from rpcb_trio import FixedPolicy, HealthInstrument, Instrument, LogInstrument, Worker, serve
from rpcb_trio.metrics import MetricsInstrument

SUFFIX = "-metered"
"""Of the queue of the worker with metrics."""

PATIENCE = 0.05
"""Seconds; enough for each batch of a flood to be full, so that both workers have batches of one size."""


async def run(job: Job) -> None:
    """Which of the two is made first is left to chance: its memory lies elsewhere."""
    workers: list[tuple[str, list[Instrument]]] = [
        (job.queue, []),
        (f"{job.queue}{SUFFIX}", [MetricsInstrument(CollectorRegistry())]),
    ]
    async with trio.open_nursery() as nursery:
        for queue, more in random.sample(workers, k=2):
            await nursery.start(partial(work, job, queue, more))


async def work(
    job: Job, queue: str, more: Sequence[Instrument], *, task_status: trio.TaskStatus[Worker]
) -> None:
    """A worker with the instruments that the command `serve` gives it."""
    await serve(
        job.infer,
        job.url,
        queue,
        batching=FixedPolicy(job.batch_size, max_wait=PATIENCE),
        prefetch=job.prefetch,
        instruments=[LogInstrument(queue), HealthInstrument(queue), *more],
        task_status=task_status,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    trio.run(run, this_job())
