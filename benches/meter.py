"""What a process has used, seen from outside: each server is measured in the same way, whatever it runs."""

from __future__ import annotations

import re
import time
from pathlib import Path

CLOCK_OF_A_PROCESS = 2
"""As `clock_getcpuclockid(3)` makes a clock of a process id: to the nanosecond, where `psutil` has ticks."""


def cpu_seconds(process: int) -> float:
    """The processor time of all its threads so far, user and system."""
    return time.clock_gettime((~process << 3) | CLOCK_OF_A_PROCESS)


def peak_rss_mib(process: int) -> float:
    """The most memory that it ever had resident; `ru_maxrss` would count its parent's too."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
