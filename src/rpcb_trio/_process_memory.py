"""How much memory a process has, as the system tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def memory_of(pid: int) -> int | None:
    """The resident memory of a process in bytes, as Linux tells it; None elsewhere, and once it is gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
