"""What processes have counted outlives them, in a bounded number of files."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from rpcb_trio._metrics import registry_of_processes

NOBODY = 1 << 22
"""The first process id that Linux gives to none."""


def count(folder: Path, kind: str, process: int, **values: float) -> None:
    """Write what a process counts, as prometheus_client does."""
    file = MmapedDict(str(folder / f"{kind}_{process}.db"))
    for name, number in values.items():
        file.write_value(mmap_key(name, name, [], [], "Counted."), number, 0.0)
    file.close()


def found(folder: Path) -> dict[str, float]:
    registry = registry_of_processes(folder, is_own=True)
    families: list[Metric] = [each for each in registry.collect() if each.documentation == "Counted."]
    return {each.name: each.value for family in families for each in family.samples}


def test_counts_of_the_dead_are_added_up_again_and_again_and_their_gauges_are_gone(tmp_path: Path) -> None:
    for generation in range(3):
        count(tmp_path, "counter", NOBODY + generation, items_total=5, own_total=generation)
        count(tmp_path, "summary", NOBODY + generation, seconds_sum=0.5)
        count(tmp_path, "gauge_all", NOBODY + generation, weights=1)
        count(tmp_path, "counter", os.getpid(), items_total=2)
        count(tmp_path, "gauge_livesum", os.getpid(), weights=7)
        assert found(tmp_path) == {
            "items_total": 5 * (generation + 1) + 2,
            "own_total": sum(range(generation + 1)),
            "seconds_sum": 0.5 * (generation + 1),
            "weights": 7,
        }
    assert len(list(tmp_path.iterdir())) == 4


def test_files_that_another_program_shares_are_left_alone(tmp_path: Path) -> None:
    count(tmp_path, "counter", NOBODY, items_total=5)
    registry = registry_of_processes(tmp_path, is_own=False)
    assert registry.get_sample_value("items_total") == 5
    assert [file.name for file in tmp_path.iterdir()] == [f"counter_{NOBODY}.db"]
