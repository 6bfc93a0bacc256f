"""Fixtures for the commands: a working directory of their own, and a process that is not changed by them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from rpcb_trio.__main__ import main
from rpcb_trio._commands._apart import close_stream, join_again
from rpcb_trio._commands._signals import OBEYED
from tests.cli.processes import Command, Gate, command
from tests.rabbitmq import URL_VARIABLE, Broker


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, no RPCB_* variables, and what a command does to the process undone."""
    for name in os.environ:
        if name.startswith("RPCB_") and name != URL_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    root, modules = logging.getLogger(), set(sys.modules)
    handlers, level = list(root.handlers), root.level
    dispositions = {each: signal.getsignal(each) for each in OBEYED}
    yield tmp_path
    for each, disposition in dispositions.items():
        signal.signal(each, disposition)
    added, root.handlers, root.level = root.handlers, handlers, level
    apart = join_again()
    for handler in {*added, apart} - set(handlers):
        close_stream(handler)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error."""
        [line] = self.err.splitlines()
        return line


@pytest.fixture
def run_command(workplace: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process."""

    def run(*argv: str) -> Ended:
        code = main(argv)
        printed = capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


SERVICES = """
from pathlib import Path

passed = False

def shout(bodies):
    return [body.upper() for body in bodies]

def gated(bodies):
    global passed
    if not passed:
        Path("gate").read_text()
        passed = True
    return shout(bodies)

def stuck(bodies):
    Path("arrival").read_text()

class Service:
    def decode(self, body): return body
    def infer(self, items): return items
    def encode(self, outcome): return b""

class SlowToWarm(Service):
    def warm_up(self):
        Path("arrival").read_text()
        Path("gate").read_text()

class Cold(Service):
    def ondevice(self):
        pass

    def warm_up(self):
        raise RuntimeError("the weights are gone")
"""

SLOW_TO_IMPORT = """
from pathlib import Path
Path("arrival").read_text()
Path("gate").read_text()
"""


class Serve(Protocol):
    """Runs `serve` against the tests' broker."""

    def __call__(
        self, *argv: str, url: str = ..., terminal: int = ...
    ) -> AbstractAsyncContextManager[Command]: ...


@pytest.fixture
def serve(broker: Broker, workplace: Path) -> Serve:
    (workplace / "services.py").write_text(SERVICES)
    (workplace / "slow.py").write_text(SLOW_TO_IMPORT)

    def start(
        *argv: str, url: str = broker.url, terminal: int = subprocess.DEVNULL
    ) -> AbstractAsyncContextManager[Command]:
        return command("serve", *argv, cwd=workplace, terminal=terminal, RPCB_URL=url)

    return start


@pytest.fixture
def gate(workplace: Path) -> Gate:
    return Gate(workplace / "gate")


@pytest.fixture
def arrival(workplace: Path) -> Gate:
    return Gate(workplace / "arrival")
