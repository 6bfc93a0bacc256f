"""Does what a page says: writes its files, runs its commands, compares what they print."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.blocks import ROOT, Block, blocks_of
from tests.rabbitmq import Broker, free_ports

SERVER = re.compile(r"^(?:rpcb-trio|python -m rpcb_trio) (?:serve|gateway)\b(?!.*--help)")
READY = re.compile(r"consuming from queue|serving on http|listening|http://127")
URLS = re.compile(r"amqp://(?:guest:guest@)?localhost(?::5672)?/?(?=[\"'\s]|$)")
GATEWAY_PORT = "8083"
HEALTH_PORT = "8080"
SECONDS = 60.0


class Run:
    """A reader's terminals: a folder, an environment, and the servers that were started."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._port, self._health_port = free_ports(2)
        self._servers: list[tuple[str, Path, subprocess.Popen[bytes]]] = []
        python_path = os.pathsep.join([*map(str, (ROOT / "src", ROOT / "models", ROOT)), str(folder)])
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": python_path,
            "RPCB_JOURNAL": "off",
            "RPCB_PORT": str(self._port),
            "RPCB_URL": url,
            "COLUMNS": "120",
        }

    def do(self, block: Block) -> None:
        """What a reader does with a block."""
        if block.title:
            self._write(block)
        elif block.language == "python":
            self._run_program(block)
        elif block.language == "console":
            for command, expected in block.commands:
                self._run_command(block, self._own(command), expected)

    def _own(self, text: str) -> str:
        """With the addresses of this run's broker, gateway and health port."""
        text = URLS.sub(self._url, text).replace(f"localhost:{GATEWAY_PORT}", f"localhost:{self._port}")
        text = text.replace(f"localhost:{HEALTH_PORT}", f"localhost:{self._health_port}")
        return text.replace(f"--health-port {HEALTH_PORT}", f"--health-port {self._health_port}")

    def _write(self, block: Block) -> None:
        file = self._folder / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._own(block.text))

    def _run_program(self, block: Block) -> None:
        ended = self._call([sys.executable, "-c", self._own(block.text)])
        assert ended.returncode == 0, f"{block.place}\n{ended.stdout}"

    def _run_command(self, block: Block, command: str, expected: Sequence[str]) -> None:
        if SERVER.match(command):
            self._start(block, command, expected)
            return
        ended = self._call(["bash", "-c", command])
        compare(f"{block.place}: {command}", expected, ended.stdout)
        if not expected:
            assert ended.returncode == 0, f"{block.place}: {command}\n{ended.stdout}"

    def _call(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def _start(self, block: Block, command: str, expected: Sequence[str]) -> None:
        output = self._folder / f"output-{len(self._servers)}"
        with output.open("wb") as file:
            words = shlex.split(command, comments=True)
            process = subprocess.Popen(
                words, cwd=self._folder, env=self._environment, stdout=file, stderr=subprocess.STDOUT
            )
        self._servers.append((f"{block.place}: {command}", output, process))
        give_up = time.monotonic() + SECONDS
        while not READY.search(output.read_text()):
            if process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"{block.place}: {command}\n{output.read_text()}")
            time.sleep(0.05)
        compare(f"{block.place}: {command}", expected, output.read_text())

    def drain(self) -> None:
        """Stop the servers, one after the other, as Ctrl-C would; each must end with 0."""
        for name, output, process in self._servers:
            process.send_signal(signal.SIGINT)
            code = process.wait(SECONDS)
            assert code == 0, f"{name} ended with {code}\n{output.read_text()}"

    def kill(self) -> None:
        """Leave nothing running."""
        for _, _, process in self._servers:
            process.kill()
            process.wait()


def compare(place: str, expected: Sequence[str], printed: str) -> None:
    """Each expected line is printed, in this order; numbers may differ, and `…` stands for anything."""
    lines = iter(printed.splitlines())
    for wanted in expected:
        pattern = re.compile(r"\s+".join(_loose(word) for word in wanted.split()))
        assert any(pattern.search(line) for line in lines), f"{place}\nnot printed: {wanted}\n\n{printed}"


def _loose(word: str) -> str:
    parts = re.split(r"(…|\d+(?:\.\d+)?)", word)
    return "".join(
        r".*" if part == "…" else r"[\d.]+" if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )


@contextmanager
def reader(folder: Path, broker: Broker) -> Iterator[Run]:
    """Somebody who tries what a page shows."""
    run = Run(folder, broker.url)
    try:
        yield run
        run.drain()
    finally:
        run.kill()


def do_all(page: Path, folder: Path, broker: Broker) -> None:
    """All of a page that is not marked otherwise, in order."""
    with reader(folder, broker) as run:
        for block in blocks_of(page):
            if not block.mark and "/" not in block.title:
                run.do(block)
