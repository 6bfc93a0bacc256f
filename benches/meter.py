"""How a server under measurement counts its own processor time and memory."""

from __future__ import annotations

import cProfile
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

READY = "ready"
"""What a server prints once it consumes."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is to do: answer `warm_up` requests that do not count, then `messages` that do."""

    url: str
    queue: str
    messages: int
    warm_up: int
    batch_size: int
    max_wait: float
    prefetch: int
    profile: str | None = None
    """A file for cProfile's figures; with them no time is to be trusted."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a server took from the end of the warm-up to the last answer."""

    messages: int
    batches: int | None
    """None where only its process could be seen."""
    user_seconds: float
    system_seconds: float
    seconds: float
    peak_rss_mib: float
    """Of the process's whole life."""


class _Reading(msgspec.Struct, frozen=True):
    """All counters at one moment."""

    messages: int
    batches: int
    user: float
    system: float
    time: float


class Meter:
    """Counts the answered requests and reads the clocks after the warm-up and after the last one."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._messages = 0
        self._batches = 0
        self._start: _Reading | None = None
        self._end: _Reading | None = None

    def ready(self) -> None:
        """Say that the server consumes."""
        self.answered(0)  # a warm-up of none ends here
        print(READY, flush=True)

    def answered(self, messages: int) -> bool:
        """Count a batch that is replied to, confirmed and acked; True once it was the last."""
        self._messages += messages
        self._batches += messages > 0
        if self._start is None and self._messages >= self._job.warm_up:
            self._start = self._read()
        if self._end is None and self._messages >= self._job.warm_up + self._job.messages:
            self._end = self._read()
        return self._end is not None

    def measured(self) -> Measured:
        """What lies between the two readings."""
        assert self._start is not None
        assert self._end is not None
        return Measured(
            messages=self._end.messages - self._start.messages,
            batches=self._end.batches - self._start.batches,
            user_seconds=self._end.user - self._start.user,
            system_seconds=self._end.system - self._start.system,
            seconds=self._end.time - self._start.time,
            peak_rss_mib=peak_rss_mib(),
        )

    def _read(self) -> _Reading:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return _Reading(self._messages, self._batches, used.ru_utime, used.ru_stime, time.perf_counter())


def peak_rss_mib(process: int | str = "self") -> float:
    """The most memory that a process ever had resident; `ru_maxrss` would count its parent's too."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def run_metered(serve: Callable[[Job, Meter], None]) -> None:
    """Run a server for the job on the command line and print its `Measured` as JSON."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    meter = Meter(job)
    if job.profile is None:
        serve(job, meter)
    else:
        with cProfile.Profile() as profile:
            serve(job, meter)
        profile.dump_stats(job.profile)
    print(msgspec.json.encode(meter.measured()).decode(), flush=True)
