"""The command `top`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import cyclopts
import msgspec
import trio
from cyclopts import Parameter
from rich.console import Console, Group
from rich.live import Live

from rpcb_trio._bounds import POSITIVE, Bounds
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._logs import report, write_logs
from rpcb_trio._commands._settings._broker import shown_url, transport
from rpcb_trio._commands._settings._parameters import flag, setting
from rpcb_trio._commands._settings._shared import ConfigPath, ConnectionSettings, LogSettings
from rpcb_trio._commands._settings._values import SECONDS
from rpcb_trio._commands._signals import ENDING
from rpcb_trio._commands.top._keys import pressed, single_keys
from rpcb_trio._commands.top._screen import Screen
from rpcb_trio._events import LiveSummary, QueueSummary, WorkerSummary, watch_events
from rpcb_trio.errors import SettingError

VIEW = cyclopts.Group("View", sort_key=0)

TIMEOUT = 5.0
"""Seconds without any event after which it ends; a worker publishes its state each second."""

WIDE = 200
"""Columns, where there is no terminal that has any."""


@dataclass(frozen=True, kw_only=True)
class TopSettings(ConnectionSettings):
    """What is watched."""

    events: Annotated[str | None, setting(VIEW, "EXCHANGE", shown=False, common=True)] = None
    """Exchange that the workers publish events to, as they were started with. Required."""


@dataclass(frozen=True, kw_only=True)
class TopFlags:
    """How it is shown."""

    interval: Annotated[float, flag(VIEW, unit=SECONDS, bounds=Bounds(least=0.1))] = 1.0
    """From one view to the next."""
    once: Annotated[bool, flag(VIEW, shown=False)] = False
    """Look for some seconds, print it once and end; so without a terminal."""
    seconds: Annotated[float, flag(VIEW, unit=SECONDS, bounds=POSITIVE)] = 2.5
    """How long to look, with --once."""
    format: Annotated[Literal["text", "json"], flag(VIEW)] = "text"
    """A screen, or a line of JSON for each view."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `--format json`."""

    unix: float
    connected: bool
    workers: list[WorkerSummary]
    queues: list[QueueSummary]


def top(
    *,
    config: ConfigPath = None,  # noqa: ARG001 - was read to fill in the settings
    settings: Annotated[TopSettings, Parameter(name="*")] = TopSettings(),
    flags: Annotated[TopFlags, Parameter(name="*")] = TopFlags(),
) -> int:
    """Show all workers and queues, live: their state, rates, batches and latencies.

    Only workers that were started with --events are seen. Rates are of the last 10 s, means and percentiles
    of the last minute; times are in milliseconds. Arrows scroll, ? explains columns and keys, q or Ctrl-C
    ends it.
    """
    write_logs(LogSettings(log_level="error"))
    if not settings.events:
        raise SettingError(
            "events is missing; give --events, RPCB_EVENTS, or events in rpcb.toml: the exchange that the "
            "workers were started with"
        )
    try:
        return trio.run(_run, settings, settings.events, flags)
    except* BrokenPipeError:  # its reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE


async def _run(settings: TopSettings, exchange: str, flags: TopFlags) -> int:
    async with (
        watch_events(transport(settings, name="top"), exchange) as watch,
        trio.open_nursery() as nursery,
    ):
        summary = LiveSummary(watch)
        nursery.start_soon(summary.keep)
        with trio.move_on_after(TIMEOUT) as waiting:
            await summary.news.wait()
        if not waiting.cancelled_caught:
            await _Display(summary, f"{exchange} of {shown_url(settings)}").show(flags)
        nursery.cancel_scope.cancel()
    if waiting.cancelled_caught:
        report(f"no events in {TIMEOUT:g} s: start workers with --events {exchange}")
        return ExitCode.NO_EVENTS
    return ExitCode.DONE


class _Display:
    def __init__(self, summary: LiveSummary, where: str) -> None:
        self._summary = summary
        self._where = where
        self._screen = Screen()

    async def show(self, flags: TopFlags) -> None:
        console, as_json = Console(), flags.format == "json"
        is_live = sys.stdout.isatty() and not console.is_dumb_terminal
        show = self._print_line if as_json else self._print_page
        if flags.once or not (as_json or is_live):
            await trio.sleep(flags.seconds)
            show()
        elif as_json:
            await self._go_on(flags.interval, show, None)
        else:
            with (
                Live(console=console, screen=True, auto_refresh=False) as live,
                single_keys() as terminal,
            ):
                draw = lambda: live.update(self._page(*console.size), refresh=True)  # noqa: E731 - a short one
                await self._go_on(flags.interval, draw, terminal)

    async def _go_on(self, interval: float, show: Callable[[], None], terminal: int | None) -> None:
        """Show it again and again, until a signal or `q`."""
        with trio.open_signal_receiver(*ENDING) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._repeat, interval, show)
                nursery.start_soon(self._obey_keys, terminal, show, nursery.cancel_scope)
                await anext(signals)
                nursery.cancel_scope.cancel()

    async def _repeat(self, interval: float, show: Callable[[], None]) -> None:
        while True:
            show()
            await trio.sleep(interval)

    async def _obey_keys(
        self, terminal: int | None, show: Callable[[], None], everything: trio.CancelScope
    ) -> None:
        async for key in pressed(terminal):
            if key == "q":
                everything.cancel()
                return
            self._screen.press(key)
            show()

    def _print_line(self) -> None:
        line = Snapshot(
            unix=time.time(),
            connected=self._summary.is_connected,
            workers=self._workers,
            queues=self._summary.queues(),
        )
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")  # UTF-8, whatever the locale is
        sys.stdout.buffer.flush()

    def _print_page(self) -> None:
        console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
        console.print(self._page(console.width))

    def _page(self, width: int, height: int | None = None) -> Group:
        link = "" if self._summary.is_connected else "   NOT CONNECTED, trying again"
        title = f"rpcb-trio top   {datetime.now(UTC):%X} UTC   {self._where}{link}"
        return self._screen.page(self._workers, self._summary.queues(), title, width=width, height=height)

    @property
    def _workers(self) -> list[WorkerSummary]:
        return self._summary.observer.workers(trio.current_time())
