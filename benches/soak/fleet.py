"""The workers: processes that are started again when they end, with their logs and their memory."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped] # it carries no types
import trio

ROOT = Path(__file__).resolve().parents[2]
TARGET = "benches.soak.service:Checked"
DRAIN_SECONDS = 10.0
SHORT_LIFE = 3.0
"""Seconds; a worker that ended sooner is started again only after as many."""
MEBIBYTE = 1 << 20


class Life(msgspec.Struct, kw_only=True):
    """One process: when it lived, how it ended, and its resident memory, as (monotonic seconds, MiB)."""

    worker: int
    pid: int
    began: float
    ended: float | None = None
    code: int | None = None
    samples: list[tuple[float, float]] = msgspec.field(default_factory=list)


class Fleet:
    """Several workers of one queue.

    Args:
        urls: of the broker, one for each worker.
        flags: of `python -m rpcb_trio serve`, for all.
        logs: a folder for what they write to stderr.
    """

    def __init__(self, urls: Sequence[str], flags: Sequence[str], logs: Path) -> None:
        self._urls = urls
        self._flags = flags
        self._logs = logs
        self._processes: dict[int, trio.Process] = {}
        self._closing = trio.Event()
        self.lives: list[Life] = []

    async def run(self) -> None:
        """Keep all of them running until `drain`."""
        async with trio.open_nursery() as nursery:
            for worker in range(len(self._urls)):
                nursery.start_soon(self._keep, worker)

    def send(self, worker: int, signum: signal.Signals) -> None:
        """Send one of them a signal, if it runs."""
        if worker in self._processes:
            self._processes[worker].send_signal(signum)

    def drain(self) -> None:
        self._closing.set()
        for worker in list(self._processes):
            self.send(worker, signal.SIGTERM)

    def last_words(self) -> str:
        """The last line that any worker wrote."""
        logs = sorted(self._logs.glob("worker-*.log"), key=lambda log: log.stat().st_mtime)
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return lines[-1] if lines else "(nothing)"

    def current(self) -> list[Life]:
        return [life for life in self.lives if life.ended is None]

    def sample(self) -> None:
        for life in self.current():
            try:
                memory = psutil.Process(life.pid).memory_info().rss / MEBIBYTE
            except psutil.NoSuchProcess:
                continue
            life.samples.append((time.monotonic(), memory))

    async def _keep(self, worker: int) -> None:
        while not self._closing.is_set():
            if await self._live(worker) < SHORT_LIFE:
                with trio.move_on_after(SHORT_LIFE):
                    await self._closing.wait()

    async def _live(self, worker: int) -> float:
        """Run one process, and return how many seconds it lived."""
        command = [sys.executable, "-m", "rpcb_trio", "serve", TARGET, f"--url={self._urls[worker]}"]
        with (self._logs / f"worker-{worker}.log").open("ab") as log:
            process = await trio.lowlevel.open_process(
                [*command, *self._flags], cwd=ROOT, stdout=log, stderr=log, env=_without_settings()
            )
        self._processes[worker] = process
        life = Life(worker=worker, pid=process.pid, began=time.monotonic())
        self.lives.append(life)
        try:
            life.code = await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        life.ended = time.monotonic()
        del self._processes[worker]
        return life.ended - life.began


def growth(lives: Sequence[Life]) -> tuple[float, float] | None:
    """How fast resident memory grows, in MiB an hour, and the standard error of that.

    Least squares over all processes, each with a level of its own; the first third of each life is warm-up
    and does not count. None where there is too little to tell.
    """
    times, levels = list[float](), list[float]()
    groups = 0
    for life in lives:
        samples = life.samples[len(life.samples) // 3 :]
        if len(samples) > 1:
            groups += 1
            times += _centred([at for at, _ in samples])
            levels += _centred([memory for _, memory in samples])
    freedom = len(times) - groups - 1
    spread = sum(at * at for at in times)
    if freedom < 1 or spread == 0:
        return None
    slope = sum(at * level for at, level in zip(times, levels, strict=True)) / spread
    rest = sum((level - slope * at) ** 2 for at, level in zip(times, levels, strict=True))
    return 3600 * slope, 3600 * (rest / freedom / spread) ** 0.5


def _centred(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    return [value - mean for value in values]


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RPCB_")}
