"""HTTP servers under measurement: the gateway as it is deployed, and others beside it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil  # type: ignore[import-untyped] # it carries no types

START_SECONDS = 60.0
DRAIN_SECONDS = 30.0
HOST = "127.0.0.1"


class Served:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._watched = psutil.Process(process.pid)
        self.port = port
        self.url = f"http://{HOST}:{port}"

    def cpu_seconds(self) -> float:
        """The processor time it has used so far, user and system."""
        used = self._watched.cpu_times()
        return float(used.user + used.system)


@contextmanager
def gateway(url: str, routes: str) -> Iterator[Served]:
    """Run `python -m rpcb_trio gateway` with these tables of routes; at the end it drains."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.toml"
        config.write_text(routes)
        port = free_port()
        flags = [f"--config={config}", f"--url={url}", f"--port={port}", "--log-level=error"]
        with served(["-m", "rpcb_trio", "gateway", *flags], port) as front:
            yield front


@contextmanager
def served(command: Sequence[str], port: int) -> Iterator[Served]:
    """Run a Python program that listens on a port; yield once it does."""
    with subprocess.Popen([sys.executable, *command]) as process:  # noqa: S603 - our own command
        try:
            _await_listener(process, port)
            yield Served(process, port)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DRAIN_SECONDS)
            finally:
                process.kill()


def free_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.create_server((HOST, 0))) as listener:
        return int(listener.getsockname()[1])


def _await_listener(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the HTTP server did not start") from None
            time.sleep(0.05)
        else:
            return
