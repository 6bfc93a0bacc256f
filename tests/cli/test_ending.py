"""The process ends after its worker, whatever the model has left behind, and with the worker's exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import trio

from rpcb_trio import open_client
from tests.cli.conftest import Ended, Serve
from tests.cli.processes import Command
from tests.rabbitmq import Broker

SERVICE = """
import atexit, concurrent.futures, multiprocessing, os, threading, time

def echo(bodies):
    return bodies

def forever(*_):
    while True:
        time.sleep(3600)

def busy():
    while True:
        pass
"""

LEFT_BEHIND = {
    "a thread": ("threading.Thread(target=forever, name='poller').start()", ["1 thread(s)", "poller"]),
    "many threads": (
        "[threading.Thread(target=forever, name=f'poller-{n}').start() for n in range(40)]",
        ["40 thread(s)", "poller-0", "and 32 more"],
    ),
    "a busy thread": ("threading.Thread(target=busy, name='spinner').start()", ["spinner at left.py:"]),
    "a thread with a long and strange name": (
        r"threading.Thread(target=forever, name='x\n\x1b[2J' * 1000).start()",
        [r"x\n\x1b[2J", "more characters"],
    ),
    "a busy pool": (
        "concurrent.futures.ThreadPoolExecutor(2).submit(forever)",
        ["1 thread(s)", "ThreadPoolExecutor"],
    ),
    "a pool of processes": (
        "concurrent.futures.ProcessPoolExecutor(1).submit(forever)",
        ["thread(s)", "child process(es)"],
    ),
    "a child process": (
        "multiprocessing.get_context('fork').Process(target=forever, name='loader').start()",
        ["1 child process(es)", "loader, process "],
    ),
    "an exit handler": ("atexit.register(forever)", ["atexit", "left.py:"]),
    "a non-daemon timer": ("threading.Timer(3600, forever).start()", ["1 thread(s)", "threading.py:"]),
    "a join of a thread's own": (
        "t = threading.Thread(target=forever, daemon=True); t.start(); atexit.register(t.join)",
        ["atexit"],
    ),
}


def write_service(workplace: Path, line: str, *, hook: bool = False) -> None:
    text = dedent(SERVICE)
    if hook:
        text += f"\ndone = False\ndef echo(bodies):\n    {line}\n    return bodies\n"
    else:
        text += f"\n{line}\n"
    (workplace / "left.py").write_text(text)


async def drained(serving: Command) -> int:
    """Drain it, and return its exit code."""
    serving.send(signal.SIGTERM)
    code = await serving.end()
    await serving.line_with("drain: drained")
    return code


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("line", "parts"), LEFT_BEHIND.values(), ids=LEFT_BEHIND)
async def test_a_drained_process_ends_with_a_line_that_names_what_kept_it(
    line: str, parts: list[str], serve: Serve, queue: str, workplace: Path
) -> None:
    write_service(workplace, line)
    async with serve("left:echo", "--queue", queue) as serving:
        await serving.line_with("consuming from queue")
        assert await drained(serving) == 0
        told = await serving.line_with("the process does not end by itself, so it is ended: ")
    for part in parts:
        assert part in told
    assert len(told) < 2000
    with trio.fail_after(60):
        while any(is_there(int(pid)) for pid in re.findall(r"process (\d+)", told)):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.01)


async def test_what_a_hook_left_behind_is_named_too(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    write_service(
        workplace, "threading.Thread(target=forever, name='of-infer', daemon=False).start()", hook=True
    )
    async with serve("left:echo", "--queue", queue) as serving, open_client(broker.url) as client:
        await serving.line_with("consuming from queue")
        await client.call(b"x", queue=queue)
        assert await drained(serving) == 0
        await serving.line_with("1 thread(s) still run (of-infer at left.py:")


async def test_what_ends_by_itself_is_left_to_end(serve: Serve, queue: str, workplace: Path) -> None:
    line = "atexit.register(lambda: open('flushed', 'w').write('all of it'))"
    write_service(workplace, f"{line}; threading.Thread(target=time.sleep, args=(0.2,)).start()")
    async with serve("left:echo", "--queue", queue) as serving:
        await serving.line_with("consuming from queue")
        assert await drained(serving) == 0
    assert (workplace / "flushed").read_text() == "all of it"
    assert not [each for each in serving.lines if "does not end by itself" in each]


STREAMS_OF_A_MODEL = {
    "none": "sys.stdout = sys.stderr = None",
    "a logger": "sys.stdout = sys.stderr = types.SimpleNamespace(write=len)",
    "one that fails": "sys.stdout = sys.stderr = types.SimpleNamespace(flush=lambda: 1 / 0)",
    "closed": "sys.stdout.close(); sys.stderr.close()",
    "the same wrapped anew": "sys.stdout = io.TextIOWrapper(sys.stdout.detach()); "
    "sys.stderr = io.TextIOWrapper(sys.stderr.detach())",
}


@pytest.mark.parametrize("line", STREAMS_OF_A_MODEL.values(), ids=STREAMS_OF_A_MODEL)
async def test_a_drain_is_no_crash_because_a_model_has_replaced_the_streams(
    line: str, serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    write_service(workplace, f"import io, sys, types; {line}", hook=True)
    async with serve("left:echo", "--queue", queue) as serving, open_client(broker.url) as client:
        await serving.line_with("consuming from queue")
        await client.call(b"x", queue=queue)
        assert await drained(serving) == 0
    assert not [each for each in serving.lines if "crashed" in each]


async def test_the_exit_code_of_a_failure_is_kept(serve: Serve, queue: str, workplace: Path) -> None:
    write_service(workplace, "threading.Thread(target=forever, name='poller').start()")
    async with serve("left:echo", "--queue", queue, "--url", "amqp://127.0.0.1:1/") as serving:
        assert await serving.end() == 5
        await serving.line_with("1 thread(s) still run (poller at left.py:")


@pytest.mark.usefixtures("workplace")
def test_a_wrong_setting_behind_an_import_that_left_threads_ends_too(workplace: Path) -> None:
    write_service(workplace, "threading.Thread(target=forever, name='poller').start()")
    done = subprocess.run(
        [sys.executable, "-m", "rpcb_trio", "serve", "left:ecko", "--queue=q"],
        cwd=workplace,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "did you mean echo?" in done.stderr
    assert "1 thread(s) still run (poller" in done.stderr


@pytest.mark.parametrize("line", ["atexit.register(ctypes.PyDLL(None).sleep, 3600)"])
async def test_what_holds_the_gil_at_the_end_is_ended_by_the_kernel(
    line: str, serve: Serve, queue: str, workplace: Path
) -> None:
    sooner = "from rpcb_trio._commands import _ending; _ending.LAST_GRACE = 4"
    write_service(workplace, f"import ctypes; {sooner}; {line}")
    async with serve("left:echo", "--queue", queue) as serving:
        await serving.line_with("consuming from queue")
        assert await drained(serving) == -signal.SIGALRM


async def test_signals_that_come_while_it_ends_change_nothing(
    serve: Serve, queue: str, workplace: Path
) -> None:
    write_service(workplace, "threading.Thread(target=forever, name='poller').start()")
    async with serve("left:echo", "--queue", queue) as serving:
        await serving.line_with("consuming from queue")
        serving.send(signal.SIGTERM)
        await serving.line_with("drain: drained")
        assert await serving.insist(signal.SIGINT) == 0
        await serving.line_with("1 thread(s) still run (poller")
    assert not [line for line in serving.lines if "Traceback" in line]


@pytest.mark.parametrize("count", [2, 3])
async def test_signals_to_the_process_and_its_group_at_once_drain_it(
    count: int, serve: Serve, queue: str, workplace: Path
) -> None:
    write_service(workplace, "")
    async with serve("left:echo", "--queue", queue) as serving:
        await serving.line_with("consuming from queue")
        for _ in range(count):
            os.kill(serving.pid, signal.SIGTERM)
            os.kill(serving.pid, signal.SIGINT)
        assert await serving.end() == 0
        await serving.line_with("drain: drained")


Run = Callable[..., Ended]


def test_a_module_that_exits_by_itself_exits_as_it_wishes(workplace: Path) -> None:
    for wish, code in (("3", 3), ("", 0), ("'no weights'", 1)):
        (workplace / "leaving.py").write_text(f"raise SystemExit({wish})")
        done = subprocess.run(
            [sys.executable, "-m", "rpcb_trio", "serve", "leaving:echo", "--queue=q"],
            cwd=workplace,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert ("no weights" in done.stderr) == (code == 1)
        assert "Traceback" not in done.stderr


def test_a_child_that_is_forked_ends_by_a_signal_as_any_process_does(workplace: Path) -> None:
    code = """
import os, signal, sys
from rpcb_trio._commands._signals import Signals
Signals().keep()
here, there = os.pipe()
child = os.fork()
if not child:
    os.write(there, b"forked")
    signal.pause()
    os._exit(0)
os.read(here, 6)
os.kill(child, signal.SIGTERM)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGTERM)
"""
    subprocess.run([sys.executable, "-c", dedent(code)], check=True, timeout=60)
