"""Single keys from the terminal."""

from __future__ import annotations

import os
import re
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import trio

SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|.)?")
"""What a key sends that has no character of its own (ECMA-48, 5.4)."""


@contextmanager
def single_keys() -> Iterator[int | None]:
    """Have keys come at once and unseen; yields what to read them from, None if stdin is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


async def pressed(terminal: int | None) -> AsyncIterator[str]:
    """Each key; those that are sequences, as the arrows, are passed over."""
    while terminal is not None:
        await trio.lowlevel.wait_readable(terminal)
        keys = os.read(terminal, 64).decode(errors="ignore")
        if not keys:
            return
        for key in SEQUENCE.sub("", keys):
            yield key
