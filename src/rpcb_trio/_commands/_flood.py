"""Lines that are alike, held back in a flood: bad requests at full rate must not fill a disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_ALIKE = 20
"""Lines of one kind that are written in `SECONDS`."""

SECONDS = 10.0

MOST_KINDS = 1000
"""Kinds that are remembered; an error's code is the service's to choose, so there may be very many."""


@dataclass
class _Window:
    since: float
    written: int = 0
    held_back: int = 0


class FloodFilter(logging.Filter):
    """Lets `MOST_ALIKE` lines of one kind pass in `SECONDS` and counts the rest, from info to warning.

    Lines are of one kind if their text before formatting is the same, and the `code` they bear (an error's).
    The first line of a kind after a flood says how many there were.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, str | None], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not logging.INFO <= record.levelno <= logging.WARNING:
            return True
        code = getattr(record, "code", None)
        kind = (str(record.msg), code if isinstance(code, str) else None)
        now = self._clock()
        if kind not in self._windows and len(self._windows) >= MOST_KINDS:
            del self._windows[next(iter(self._windows))]
        window = self._windows.setdefault(kind, _Window(now))
        if now - window.since >= SECONDS:
            if window.held_back:
                record.msg = f"{record.msg} (and {window.held_back} like it, not written)"
            window = self._windows[kind] = _Window(now)
        if window.written == MOST_ALIKE:
            window.held_back += 1
            return False
        window.written += 1
        if window.written == MOST_ALIKE:
            record.msg = f"{record.msg} (more like it are only counted for {SECONDS:g} s)"
        return True
