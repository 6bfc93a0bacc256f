"""The benches run, answer every request, and write what they promise; how fast is not asked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benches import echo, readme
from benches.load import Load
from benches.meter import Job
from tests.rabbitmq import Broker

SPREAD = {"median", "lowest", "highest", "rounds"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "results.json"


def found_in(path: Path, bench: str) -> list[dict[str, Any]]:
    written = json.loads(path.read_text())
    assert written["bench"] == bench
    assert {"python", "system", "processors", "packages"} <= written["machine"].keys()
    return list(written["results"])


def test_echo_measures_every_server(
    broker: Broker, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = results.with_suffix(".png")
    echo.main(messages=200, warm_up=40, rounds=1, in_flight=40, url=broker.url, json=results, plot=plot)
    found = found_in(results, "echo")
    assert [each["server"] for each in found] == list(echo.SERVERS)
    for each in found:
        for figure in ("cpu_us_per_message", "ratio_to_bare_aiormq", "messages_per_second", "peak_rss_mib"):
            assert each[figure].keys() == SPREAD
            assert each[figure]["median"] > 0
    assert found[0]["mean_batch_size"]["median"] > 1
    assert plot.stat().st_size > 0
    assert "Echo over RabbitMQ" in capsys.readouterr().out


def test_the_load_splits_long_bodies_into_frames(broker: Broker, queue: str) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True)
    job = Job(url=broker.url, queue=queue, messages=20, warm_up=0, batch_size=4, max_wait=0, prefetch=8)
    load = Load(url=broker.url, queue=queue, messages=20, in_flight=8, body_size=300_000)
    assert echo.run_server("worker", job, load).messages == 20


def test_readme_answers_every_caller(
    broker: Broker, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = results.with_suffix(".png")
    readme.main(seconds=0.1, warm_up=0, url=broker.url, json=results, plot=plot)
    found = found_in(results, "readme")
    assert [(each["callers"], each["batched"]) for each in found] == [
        (1, False), (1, True), (10, False), (10, True),
    ]  # fmt: skip
    for each in found:
        assert each["requests"] >= each["callers"]
        assert 175 <= each["mean_ms"] <= each["p99_ms"]
        assert each["requests_per_second"] > 0
    assert [each["mean_batch_size"] for each in found[:3]] == [1, 1, 1]
    assert found[3]["mean_batch_size"] > 1
    assert found[3]["published_mean_ms"] == 510
    assert plot.stat().st_size > 0
    assert "rabbit-rpc-batch" in capsys.readouterr().out
