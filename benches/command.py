"""The worker as it is deployed: `python -m rpcb_trio serve`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
