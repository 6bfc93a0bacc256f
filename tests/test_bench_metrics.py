"""The bench of metrics runs, and writes what it promises; how dear they are is not asked here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benches import metrics
from tests.rabbitmq import Broker


def test_the_bench_compares_a_worker_s_messages_with_metrics_to_those_without(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "metrics.json"
    metrics.main(rounds=1, scale=3.0, url=broker.url, json=file)
    [found] = json.loads(file.read_text())["results"]
    assert found.keys() == {"without", "with", "ratio"}
    assert len({len(each["rounds"]) for each in found.values()}) == 1
    assert all(each["lowest"] > 0 for each in found.values())
    assert "flood: 64 B, 256 in flight" in capsys.readouterr().out
