"""The worker as it is deployed: `python -m rpcb_trio serve`, measured from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import psutil  # type: ignore[import-untyped] # it carries no types

from benches.load import Load, send
from benches.meter import Job, Measured, peak_rss_mib

DRAIN_SECONDS = 30.0


@contextmanager
def serving(target: str, url: str, queue: str, **settings: float | str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command on a queue; at the end it drains."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    command = ["-m", "rpcb_trio", "serve", target, f"--url={url}", f"--queue={queue}", "--log-level=error"]
    with subprocess.Popen([sys.executable, *command, *flags]) as process:  # noqa: S603 - our own command
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DRAIN_SECONDS)
            finally:
                process.kill()


def run_command(job: Job, load: Load) -> Measured:
    """Send it the warm-up and then the load, and look at its process before and after the load."""
    with serving(
        "models.simple:echo",
        job.url,
        job.queue,
        max_batch_size=job.batch_size,
        batching="fixed",
        max_wait=job.max_wait,
        prefetch=job.prefetch,
    ) as process:
        send(msgspec.structs.replace(load, messages=job.warm_up))
        watched = psutil.Process(process.pid)
        before, started = watched.cpu_times(), time.perf_counter()
        send(msgspec.structs.replace(load, messages=job.messages))
        after, ended = watched.cpu_times(), time.perf_counter()
        return Measured(
            messages=job.messages,
            batches=None,
            user_seconds=after.user - before.user,
            system_seconds=after.system - before.system,
            seconds=ended - started,
            peak_rss_mib=peak_rss_mib(process.pid),
        )
