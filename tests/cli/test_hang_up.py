"""A terminal that hangs up: SIGHUP to all that runs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from rpcb_trio import Reply, open_client
from tests.cli.conftest import Serve
from tests.cli.processes import Gate, collect
from tests.rabbitmq import Broker

WAITING = """
from pathlib import Path

def waiting(bodies):
    Path("arrival").read_text()
    Path("gate").read_text()
    return bodies
"""

HANGING_UP = """
import os, signal
os.kill(os.getpid(), signal.SIGHUP)
print("it goes on")
raise SystemExit
"""


def children_of(pid: int) -> list[int]:
    """The processes that it has started, on Linux."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_a_hang_up_drains_as_sigterm_does(
    executor: str, serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "waits.py").write_text(WAITING)
    gate, arrival = Gate(workplace / "gate"), Gate(workplace / "arrival")
    replies = list[Reply]()
    terminal, inside = os.openpty()
    async with (
        serve("waits:waiting", "--queue", queue, "--executor", executor, terminal=inside) as serving,
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):
        os.close(inside)
        await serving.line_with("consuming from queue")
        nursery.start_soon(collect, client, b"x", queue, replies)
        await arrival.open()
        for pid in children_of(serving.pid):
            os.kill(pid, signal.SIGHUP)
        serving.send(signal.SIGHUP)
        await serving.line_with("reload: 0 changed live")
        os.close(terminal)
        await serving.line_with("SIGHUP: draining 1 worker(s)")
        await gate.open()
        assert await serving.end() == 0
        await serving.line_with("drain: drained")
    assert [reply.body for reply in replies] == [b"x"]


def test_what_nohup_runs_is_not_ended_by_a_hang_up(workplace: Path) -> None:
    (workplace / "hanging_up.py").write_text(HANGING_UP)
    command = [sys.executable, "-m", "rpcb_trio", "serve", "hanging_up:echo", "--queue=q"]
    done = subprocess.run(
        ["/usr/bin/env", "--ignore-signal=HUP", *command],
        cwd=workplace,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "it goes on\n")
