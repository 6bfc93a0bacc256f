"""The README's examples work as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from rpcb_trio import serve
from tests.rabbitmq import Broker

README = (Path(__file__).parent.parent / "README.md").read_text()


def example(containing: str) -> str:
    """The one Python block of the README that has this text in it."""
    [block] = [each for each in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if containing in each]
    return str(block)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shout.py").write_text(example("# shout.py"))
    return tmp_path


def run_python(folder: Path, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_service_can_be_embedded_in_a_trio_app_as_shown(folder: Path, broker: Broker, queue: str) -> None:
    program = example("trio.run(main)")
    assert len([line for line in program.split("async def main")[1].splitlines() if line.strip()]) < 15
    own = program.replace("amqp://localhost", broker.url).replace('"shout"', f'"{queue}"')
    (folder / "embedded.py").write_text(own)
    assert run_python(folder, "embedded.py") == "b'HELLO'\n"


def test_a_service_can_be_tested_in_virtual_time_as_shown(folder: Path) -> None:
    (folder / "test_shout.py").write_text(example("autojump_clock"))
    printed = run_python(folder, "-m", "pytest", "-q", "-p", "trio", "-o", "trio_mode=true", "test_shout.py")
    assert "1 passed" in printed


async def test_clients_call_as_shown(broker: Broker, queue: str) -> None:
    shown = example("open_blocking_client").replace("amqp://localhost", broker.url)
    shown = shown.replace('"shout"', f'"{queue}"')
    asynchronous, blocking = shown.split("\n\n")[1:]
    names: dict[str, object] = {}
    lines = ["from rpcb_trio import open_blocking_client, open_client", "async def call():"]
    exec("\n".join([*lines, *(f"    {line}" for line in asynchronous.splitlines())]), names)  # noqa: S102 - ours
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(
            partial(serve, lambda bodies: [body.upper() for body in bodies], broker.url, queue)
        )
        await names["call"]()  # type: ignore[operator]
        await trio.to_thread.run_sync(exec, blocking, names)
        worker.drain()


def test_the_hooks_of_a_service_are_as_shown() -> None:
    compile(example("class Classifier"), "README.md", "exec")
    assert {"warm_up", "decode", "infer", "encode"} <= set(
        re.findall(r"def (\w+)", example("class Classifier"))
    )
