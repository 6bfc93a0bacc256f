"""The worker with the simplest policy: an idle executor takes what is there."""

from __future__ import annotations

from benches.servers.job import this_job
from benches.servers.worker import run
from rpcb_trio import FixedPolicy

if __name__ == "__main__":
    own = this_job()
    run(own, FixedPolicy(max_batch_size=own.batch_size, max_wait=0))
