"""`top` on a real broker: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from rpcb_trio import open_client, serve
from rpcb_trio.__main__ import main
from rpcb_trio._commands.top import _command as _top
from rpcb_trio.events import EventInstrument, publish_events
from tests.cli.conftest import Ended
from tests.cli.processes import PATIENCE
from tests.rabbitmq import Broker

Top = Callable[..., Awaitable[Ended]]


@pytest.fixture
def exchange(broker: Broker) -> str:
    return broker.fresh_name("events")


@pytest.fixture
async def worker(broker: Broker, queue: str, exchange: str) -> AsyncIterator[None]:
    """One that has answered three requests, and tells of itself ten times a second."""
    events = EventInstrument("shouting")
    async with trio.open_nursery() as nursery, publish_events(broker.url, exchange, events, interval=0.1):
        await nursery.start(partial(serve, lambda bodies: bodies, broker.url, queue, instruments=[events]))
        async with open_client(broker.url) as client:
            for _ in range(3):
                await client.call(b"x", queue=queue)
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
def top(
    broker: Broker,
    exchange: str,
    workplace: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Top:
    """Run `top` in a thread, for it has an event loop of its own."""
    monkeypatch.setenv("RPCB_URL", broker.url)
    monkeypatch.setenv("RPCB_EVENTS", exchange)

    async def run(*argv: str) -> Ended:
        code = await trio.to_thread.run_sync(main, ["top", *argv])
        printed = capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


async def test_once_it_prints_one_table_of_workers_and_queues(worker: None, top: Top, queue: str) -> None:
    ended = await top("--once", "--seconds=3")
    assert ended.code == 0
    lines = ended.out.splitlines()
    [row] = [line for line in lines if line.startswith("shouting")]
    assert "consuming" in row
    [row] = [line for line in lines if line.startswith(queue)]
    assert row.split()[1:3] == ["0", "1"]


async def test_without_a_terminal_it_prints_once_as_well(worker: None, top: Top) -> None:
    ended = await top("--seconds=0.3")
    assert ended.code == 0
    assert "shouting" in ended.out


async def test_json_is_one_line_with_all_that_is_known(worker: None, top: Top, queue: str) -> None:
    ended = await top("--format=json", "--once", "--seconds=0.5")
    [line] = ended.out.splitlines()
    told = json.loads(line)
    assert (ended.code, told["connected"]) == (0, True)
    [seen] = told["workers"]
    assert (seen["worker"], seen["queue"], seen["pid"], seen["gone"]) == (
        "shouting",
        queue,
        os.getpid(),
        False,
    )
    assert [each["queue"] for each in told["queues"]] == [queue]


async def test_where_no_worker_publishes_events_one_line_says_what_to_do(
    top: Top, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_top, "TIMEOUT", 0.2)
    ended = await top("--once")
    assert (ended.code, ended.out) == (15, "")
    assert ended.line == f"rpcb-trio: no events in 0.2 s: start workers with --events {exchange}"


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["--events="], 2, "--events: it is empty; leave it out, or say which."),
        (["--interval=0"], 2, "it must be at least 100ms"),
        (["--events=amq.direct"], 4, "events: exchange 'amq.direct': it is there, but no topic exchange"),
        (["--url=amqp://127.0.0.1:1/"], 5, "can't be reached"),
    ],
)
async def test_what_is_wrong_is_one_line_and_a_code(argv: list[str], code: int, says: str, top: Top) -> None:
    ended = await top("--once", *argv)
    assert ended.code == code
    assert says in ended.line


async def test_the_exchange_comes_from_the_file_as_that_of_serve(
    worker: None, top: Top, exchange: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPCB_EVENTS")
    (workplace / "rpcb.toml").write_text(f'events = "{exchange}"\n')
    assert (await top("--once", "--seconds=0.3")).code == 0


class Terminal:
    """`top` in a terminal of its own."""

    def __init__(self, *argv: str, kind: str = "xterm") -> None:
        self._end, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rpcb_trio", "top", *argv],
            stdin=other,
            stdout=other,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": kind, "COLUMNS": "100", "LINES": "24"},
        )
        os.close(other)
        self.screen = b""

    async def until(self, text: bytes) -> None:
        with trio.fail_after(PATIENCE):
            while text not in self.screen:
                await trio.lowlevel.wait_readable(self._end)
                self.screen += os.read(self._end, 65536)

    def press(self, key: bytes) -> None:
        os.write(self._end, key)

    async def end(self) -> int:
        with trio.fail_after(PATIENCE):
            return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._end)


@pytest.mark.parametrize("way", ["q", "SIGINT"])
async def test_in_a_terminal_it_goes_on_until_q_or_a_signal_and_leaves_the_screen_as_it_was(
    worker: None, top: Top, way: str
) -> None:
    terminal = Terminal()
    try:
        await terminal.until(b"shouting")
        await terminal.until(b"q quit")
        terminal.press(b"\x1b[Ar")
        if way == "q":
            terminal.press(b"q")
        else:
            terminal.process.send_signal(signal.Signals[way])
        await terminal.until(b"\x1b[?1049l")
        assert await terminal.end() == 0
    finally:
        terminal.close()


async def test_a_reader_of_its_lines_may_close_the_pipe(worker: None, top: Top) -> None:
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "rpcb_trio", "top", "--format=json", "--interval=0.1"],
                stdout=subprocess.PIPE,
                capture_stderr=True,
                check=False,
            )
        )
        async with process.stdout as out:
            assert b'"workers"' in await out.receive_some()
        with trio.fail_after(PATIENCE):
            assert await process.wait() == 0


async def test_a_terminal_that_can_do_nothing_gets_one_table(worker: None, top: Top) -> None:
    terminal = Terminal("--seconds=0.3", kind="dumb")
    try:
        await terminal.until(b"shouting")
        assert await terminal.end() == 0
        assert b"\x1b" not in terminal.screen
    finally:
        terminal.close()
