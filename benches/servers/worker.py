"""The worker with its default policy, embedded in a trio app; it logs, but shows only errors."""

from __future__ import annotations

import logging
from functools import partial

import trio

from benches.servers.job import Job, this_job
from rpcb_trio import AutoPolicy, LogInstrument, serve
from rpcb_trio.batching import Policy


def run(job: Job, policy: Policy) -> None:
    logging.basicConfig(level=logging.ERROR)
    trio.run(
        partial(
            serve,
            job.infer,
            job.url,
            job.queue,
            batching=policy,
            prefetch=job.prefetch,
            instruments=[LogInstrument(job.queue)],
        )
    )


if __name__ == "__main__":
    own = this_job()
    run(own, AutoPolicy(max_batch_size=own.batch_size))
