"""`python -m rpcb_trio` as a process of its own, and how a test meets it half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from rpcb_trio import Reply, RpcClient

PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""


class Command:
    """A command that runs, with all that it wrote to stderr so far."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._arrived = trio.Condition()
        self._ended = False
        self.lines: list[str] = []

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def read(self) -> None:
        """Take in stderr until it ends."""
        assert self._process.stderr is not None
        rest = b""
        async with self._process.stderr as stderr:
            async for chunk in stderr:
                *lines, rest = (rest + chunk).split(b"\n")
                await self._take(lines)
        self._ended = True
        await self._take([rest] if rest else [])

    async def _take(self, lines: list[bytes]) -> None:
        async with self._arrived:
            self.lines.extend(line.decode() for line in lines)
            self._arrived.notify_all()

    async def line_with(self, *parts: str) -> str:
        """Wait for a line that has all these parts."""
        with trio.fail_after(PATIENCE):
            async with self._arrived:
                while True:
                    for line in self.lines:
                        if all(part in line for part in parts):
                            return line
                    assert not self._ended, f"{parts} not found in {self.lines}"
                    await self._arrived.wait()

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(signum)

    async def insist(self, signum: signal.Signals) -> int:
        """Send it a signal again and again until it ends, and return its exit code."""
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                while True:
                    self.send(signum)
                    await trio.sleep(0.02)

            nursery.start_soon(send)
            code = await self.end()
            nursery.cancel_scope.cancel()
        return code

    async def end(self) -> int:
        """Wait for its end, and return its exit code."""
        with trio.fail_after(PATIENCE):
            return await self._process.wait()


@asynccontextmanager
async def command(
    *argv: str, cwd: Path, terminal: int = subprocess.DEVNULL, **variables: str
) -> AsyncIterator[Command]:
    """Run a command, in a terminal where one is given; leaving kills it if it still runs."""
    in_terminal = [] if terminal == subprocess.DEVNULL else ["setsid", "--ctty"]
    process = await trio.lowlevel.open_process(
        [*in_terminal, sys.executable, "-m", "rpcb_trio", *argv],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=terminal,
        stderr=subprocess.PIPE,
    )
    running = Command(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.read)
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


class Gate:
    """A named pipe: the service waits at it until the test comes, or the other way round."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path

    async def open(self) -> None:
        """Let pass who waits at the gate, or else wait for it."""
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(self._path.write_text, "", abandon_on_cancel=True)


async def collect(client: RpcClient, body: bytes, queue: str, replies: list[Reply]) -> None:
    """Call, and add the reply to `replies`."""
    replies.append(await client.call(body, queue=queue))
