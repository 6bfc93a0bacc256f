"""The process's own streams, which may be closed, full, or without a reader.

A model may have put others in their place: nothing at all, a logger that can't be flushed, a file that it has
closed. What such a thing does is no failure of the command.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

UNWRITABLE = frozenset(
    {
        *(errno.EPIPE, errno.ECONNRESET, errno.EIO),  # the reader or the terminal is gone
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # there is no room
        *(errno.EBADF, errno.EAGAIN),  # it is not for writing, or its reader is too slow to be waited for
    }
)
"""What a write to standard output may meet."""


def prepare_streams() -> None:
    """Have all that is written go somewhere, as well as it can.

    Some supervisors close the streams, and Python has None then: the null device takes their place. What the
    encoding of a stream lacks becomes a question mark; tables keep their width.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - it is as long-lived as we
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def flush_output() -> None:
    """Write what is left, while an error can still be reported."""
    ours = sys.__stdout__
    if ours is not None and sys.stdout is ours and not ours.closed:
        ours.flush()


def leave_streams() -> None:
    """Write what is left; what can't be written is dropped, so that the exit code stays what it is."""
    for name in ("stdout", "stderr"):
        ours = getattr(sys, f"__{name}__")
        if getattr(sys, name) is not ours and not _is_flushed(getattr(sys, name)):
            setattr(sys, name, ours)  # Python flushes it once more, and changes the exit code if that fails
        if not _is_flushed(ours):
            with suppress(Exception):
                os.dup2(os.open(os.devnull, os.O_WRONLY), ours.fileno())
            _is_flushed(ours)


def _is_flushed(stream: Any) -> bool:
    with suppress(Exception):  # it may be anything that a model took for a stream
        stream.flush()
        return True
    return False


def is_of_output(error: OSError) -> bool:
    """Whether standard output can't be written; if so it is closed, and no traceback follows.

    A line end is written to see if it can; had it been another file, that costs an empty line.
    """
    if error.errno not in UNWRITABLE:
        return False
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except Exception:  # noqa: BLE001 - it may be anything that a model took for a stream
        with suppress(Exception):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
