"""The benches that go through HTTP run, answer every request, and write what they promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benches import callers, table
from tests.rabbitmq import Broker


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results.json"


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the four, the last."""
    monkeypatch.setattr(callers, "CASES", callers.CASES[-1:])


def found_in(path: Path, bench: str) -> list[dict[str, Any]]:
    written = json.loads(path.read_text())
    assert written["bench"] == bench
    return list(written["results"])


def test_the_table_goes_through_the_gateway_and_stands_beside_the_published_figures(
    broker: Broker, results: Path, one_case: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = results.with_suffix(".png")
    table.main(seconds=0.5, warm_up=1, url=broker.url, json=results, plot=plot)
    [found] = found_in(results, "table")
    assert (found["callers"], found["batched"], found["published_mean_ms"]) == (10, True, 510)
    assert 175 <= found["mean_ms"] <= found["p99_ms"]
    assert found["mean_batch_size"] > 1
    assert plot.stat().st_size > 0
    assert "Through HTTP" in capsys.readouterr().out


def test_the_table_of_a_recogniser_posts_recordings_as_the_ancestors_users_did(
    broker: Broker, results: Path, one_case: None, capsys: pytest.CaptureFixture[str]
) -> None:
    table.main(seconds=0.1, warm_up=0, model="tests.deaf:deaf", url=broker.url, json=results)
    [found] = found_in(results, "table")
    assert found["requests"] >= 10
    assert found["mean_batch_size"] >= 1
    assert "tests.deaf:deaf, recordings" in capsys.readouterr().out
