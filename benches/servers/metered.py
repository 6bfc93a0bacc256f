"""Two workers in one process, on two queues: what is done for both is the same, but only one has metrics."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio
from prometheus_client import CollectorRegistry

from benches.servers.job import Job, this_job
from rpcb_trio import AutoPolicy, HealthInstrument, Instrument, LogInstrument, serve
from rpcb_trio.metrics import MetricsInstrument

SUFFIX = "-metered"
"""Of the queue of the worker with metrics."""


async def run(job: Job) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, job, job.queue, [])
        nursery.start_soon(work, job, f"{job.queue}{SUFFIX}", [MetricsInstrument(CollectorRegistry())])


async def work(job: Job, queue: str, more: Sequence[Instrument]) -> None:
    """A worker as the command `serve` makes it."""
    await serve(
        job.infer,
        job.url,
        queue,
        batching=AutoPolicy(max_batch_size=job.batch_size),
        prefetch=job.prefetch,
        instruments=[LogInstrument(queue), HealthInstrument(queue), *more],
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    trio.run(run, this_job())
