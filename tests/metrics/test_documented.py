"""docs/operating/metrics.md has every series, with its type and its labels, and no other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge

from rpcb_trio._metrics._series import ALL, GATEWAY, SECONDS, WORKER, Series
from rpcb_trio.batching import Trigger
from rpcb_trio.metrics import MetricsInstrument

PAGE = (Path(__file__).parents[2] / "docs" / "operating" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(rpcb_\w+)` \| (counter|gauge|histogram) \|([^|]*)\| .+ \|$", re.MULTILINE)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "series", "understood"),
    [
        ("A worker's series", WORKER, ("queue",)),
        ("A gateway's series", GATEWAY, ()),
        ("Of every process", [each for each in ALL if each not in (*WORKER, *GATEWAY)], ()),
    ],
)
def test_the_page_lists_each_series_with_its_type_and_labels(
    title: str, series: Sequence[Series], understood: tuple[str, ...]
) -> None:
    rows = ROW.findall(section(title))
    listed = [(name, kind, understood + labels_in(cell)) for name, kind, cell in rows]
    assert listed == [(each.name, each.kind, each.labels) for each in series]


def labels_in(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`(\w+)`", cell))


def test_the_page_names_each_trigger() -> None:
    assert all(f"`{trigger}`" in section("A worker's series") for trigger in Trigger)


def test_every_series_that_the_page_mentions_exists() -> None:
    known = {each.name for each in ALL}
    known |= {f"{each.name}_{end}" for each in ALL for end in ("bucket", "sum", "count")}
    assert set(re.findall(r"\brpcb_\w+", PAGE)) - known == {"rpcb_trio"}  # a module


def test_the_bounds_are_as_close_as_the_page_says() -> None:
    assert (SECONDS[0], SECONDS[-1]) == (0.001, 600)
    fine = [each for each in SECONDS if 0.02 <= each <= 10]
    assert all(high <= 2 * low for low, high in pairwise(fine))


def test_a_series_of_the_same_name_can_t_be_registered_beside_them() -> None:
    registry = CollectorRegistry()
    MetricsInstrument(registry)
    with pytest.raises(ValueError, match="rpcb_ready"):
        Gauge("rpcb_ready", "Another one.", registry=registry)
