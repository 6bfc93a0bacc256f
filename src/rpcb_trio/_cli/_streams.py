"""The process's own streams, which may be closed, full, or read by nobody any more."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

UNWRITABLE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EIO})
"""What a write to standard output meets: nobody reads it, the disk is full, the terminal is gone."""


def fill_in_streams() -> None:
    """Put the null device where there is no stream: some supervisors close them, and Python has None then."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - it is as long-lived as we
            setattr(sys, name, stream)


def is_of_output(error: OSError) -> bool:
    """Whether standard output can't be written; if so it is given up, and the end is quiet.

    A line end is written to see if it can; had it been another file, that costs an empty line.
    """
    if error.errno not in UNWRITABLE:
        return False
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
