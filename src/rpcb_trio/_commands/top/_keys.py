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

KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?|.", re.DOTALL)
"""A character, or what a key sends that has none (ECMA-48, 5.4)."""

NAMED = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\x1bOH": "home",
    "\x1b[F": "end",
    "\x1b[4~": "end",
    "\x1bOF": "end",
}
"""The keys without a character that mean something, as xterm, rxvt and the Linux console send them."""


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
    """Each key, by its character or its name."""
    while terminal is not None:
        await trio.lowlevel.wait_readable(terminal)
        typed = os.read(terminal, 64).decode(errors="ignore")
        if not typed:
            return
        for key in KEY.findall(typed):
            if len(key) == 1 or key in NAMED:
                yield NAMED.get(key, key)
