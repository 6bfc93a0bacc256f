"""Reloads of a process that runs: one at a time, whoever asks for them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import trio

from rpcb_trio._commands._settings._changes import Report
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")


MOST_WISHES = 1000
"""That wait; each of those who wait for a report has one."""


class _Wish:
    """One, and what came of it."""

    report: Report

    def __init__(self) -> None:
        self.granted = trio.Event()


class Reloadable(Protocol):
    """What runs in the process."""

    @property
    def ready(self) -> trio.Event:
        """Set once it can be reloaded."""
        ...

    @property
    def hindrance(self) -> str | None:
        """Why it can't be reloaded now; None where it can."""
        ...


class Reloading:
    """Has a process go by its settings as they are now, each time that somebody asks.

    A wish that comes while a reload runs is granted by the next one, for the file may have changed since.

    Args:
        reload: does it; raises `SettingError`, with nothing changed, for settings that are wrong.
        running: what runs meanwhile.
    """

    def __init__(self, reload: Callable[[], Awaitable[Report]], running: Reloadable) -> None:
        self._reload = reload
        self._running = running
        self._send_wishes, self._wishes = trio.open_memory_channel[_Wish](MOST_WISHES)

    def ask(self) -> None:
        """Ask for one as soon as it can be, and leave the report to the log."""
        if not self._running.ready.is_set():
            log.info("reload: it follows once all has started")
        with suppress(trio.WouldBlock):  # there is one to come for all of these
            self._send_wishes.send_nowait(_Wish())

    async def report(self) -> Report:
        """Ask for one, and wait for its report. Cancelled, the reload is done all the same."""
        if self._running.hindrance is not None:
            return Report(error=self._running.hindrance, is_passing=True)
        wish = _Wish()
        await self._send_wishes.send(wish)
        await wish.granted.wait()
        return wish.report

    async def run(self) -> None:
        """Grant wishes until cancelled."""
        await self._running.ready.wait()
        async for first in self._wishes:
            wishes = [first]
            with suppress(trio.WouldBlock):
                while True:
                    wishes.append(self._wishes.receive_nowait())
            report = await self._report()
            for wish in wishes:
                wish.report = report
                wish.granted.set()

    async def _report(self) -> Report:
        try:
            hindrance = self._running.hindrance
            if hindrance is None:
                report = await self._reload()
            else:
                report = Report(error=hindrance, is_passing=True)
        except SettingError as error:
            report = Report(error=str(error))
        except Exception as error:
            log.exception("the reload failed")
            report = Report(error=f"the reload failed ({type(error).__name__}: {error}); the log has more")
        if report.error is not None:
            log.error("reload: %s; the settings that were in force stay", report.error)
            return report
        for change in (*report.of("restart"), *report.of("failed")):
            log.warning("reload: %s", change)
        log.info("reload: %s", report)
        return report
