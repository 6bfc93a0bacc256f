"""The servers that `benches.echo` measures, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec

from benches.cases import COMMAND
from benches.command import serving
from benches.servers.job import Job

END_SECONDS = 10.0


def running(server: str, job: Job) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a server; at the end it is stopped."""
    if server == COMMAND:
        return serving(job.target, job.url, job.queue, max_batch_size=job.batch_size, prefetch=job.prefetch)
    return _module(server, job)


@contextmanager
def _module(server: str, job: Job) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", f"benches.servers.{server}", msgspec.json.encode(job).decode()]
    with subprocess.Popen(command) as process:  # noqa: S603 - our own module
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            finally:
                process.kill()
