"""What services count in processes of their own, by prometheus_client's way for several processes.

Each process writes its values into files of a directory; a scrape reads them all. Processes of executors are
started again now and then, so the files of those that have died are folded into one.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

LASTING = ("counter", "histogram", "summary")
"""Types of metrics whose values outlive their process; gauges don't."""

OF_THE_DEAD = "0"
"""Stands for the process in the names of the files that others are folded into; no process has that id."""


def registry_of_processes(folder: Path, *, is_own: bool) -> CollectorRegistry:
    """A registry of what this process and others count into a folder, and of this process itself.

    Args:
        folder: where they count.
        is_own: whether no other program uses that folder.
    """
    registry = CollectorRegistry()
    for of_process in (ProcessCollector, PlatformCollector, GCCollector):
        of_process(registry=registry)
    registry.register(_Collector(folder, is_own=is_own))
    return registry


class _Collector:
    def __init__(self, folder: Path, *, is_own: bool) -> None:
        self._folder = folder
        self._is_own = is_own
        self._files = MultiProcessCollector(None, str(folder))

    def collect(self) -> Iterable[Metric]:
        if self._is_own:
            fold_the_dead(self._folder)
        metrics: Iterable[Metric] = self._files.collect()
        return metrics


def fold_the_dead(folder: Path) -> None:
    """Fold the files of processes that have died into one of each type, and delete their gauges."""
    dead = [file for file in folder.glob("*.db") if not _is_alive(_process_of(file))]
    for kind in LASTING:
        of_kind = [file for file in dead if file.name.startswith(f"{kind}_")]
        sums: dict[str, float] = defaultdict(float)
        for file in of_kind:
            for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):
                sums[key] += value
        if sums:
            folded = MmapedDict(str(folder / f"{kind}_{OF_THE_DEAD}.db"))
            for key, value in sums.items():
                folded.write_value(key, folded.read_value(key)[0] + value, 0.0)
            folded.close()
    for file in dead:
        file.unlink(missing_ok=True)


def _process_of(file: Path) -> str:
    return file.stem.rpartition("_")[2]


def _is_alive(process: str) -> bool:
    if process == OF_THE_DEAD or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
