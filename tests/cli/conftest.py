"""Fixtures for the commands: a working directory of their own, and a process that is not changed by them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rpcb_trio.__main__ import main
from tests.rabbitmq import URL_VARIABLE


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, no RPCB_* variables, and what a command does to the process undone."""
    for name in os.environ:
        if name.startswith("RPCB_") and name != URL_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    root, modules = logging.getLogger(), set(sys.modules)
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    root.handlers, root.level = handlers, level
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
