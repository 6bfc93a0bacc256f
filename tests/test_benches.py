"""The benches run, answer every request, and write what they promise; how fast is not asked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benches import cache, client, echo, giving_up, neighbours, readme, shares
from benches.broker import fresh_queue
from benches.cases import CASES, COMMAND, FLOOR, PIKA_SELECT, SERVERS, Case
from benches.load import Load, send
from benches.processes import running
from benches.servers.job import Job
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


def test_echo_measures_every_server_that_takes_part_in_a_case(
    broker: Broker, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = results.with_suffix(".png")
    cases = ("poisson-1000", "flood")
    echo.main(case=cases, rounds=1, scale=0.02, url=broker.url, json=results, plot=plot)
    found = found_in(results, "echo")
    assert [(each["case"], each["server"]) for each in found] == [
        (case, server) for case in ("flood", "poisson-1000") for server in CASES[case].servers
    ]
    for each in found:
        for figure in ("cpu_us_per_message", "mean_ms", "p50_ms", "p99_ms", "ratio_to_floor", "peak_rss_mib"):
            assert each[figure].keys() == SPREAD
            assert each[figure]["median"] > 0
    targets = json.loads(results.read_text())["settings"]["targets"]
    assert {each["case"] for each in targets} == set(cases)
    assert plot.stat().st_size > 0
    printed = capsys.readouterr().out
    assert "flood: 64 B, 256 in flight" in printed
    assert "What the worker promises" in printed


@pytest.mark.parametrize("server", [server for server in SERVERS if server != COMMAND])
def test_every_server_answers_each_long_request_once_to_its_own_id(broker: Broker, server: str) -> None:
    case = Case(name="long", title="", messages=60, model="short", body_size=300_000, in_flight=8)
    turn = echo.take_turn(broker, case, server, scale=1, seed=0)
    assert turn.cpu_us > 0


@pytest.mark.parametrize("server", [FLOOR, PIKA_SELECT])
def test_long_replies_are_sent_in_as_many_frames_as_they_need(broker: Broker, server: str) -> None:
    with fresh_queue(broker) as queue:
        job = Job(url=broker.url, queue=queue, model="echo", batch_size=4, prefetch=8)
        with running(server, job) as process:
            load = Load(
                url=broker.url,
                queue=queue,
                server=process.pid,
                messages=20,
                warm_up=1,
                body_size=300_000,
                in_flight=8,
            )
            assert send(load).messages == 20


def test_client_calls_the_same_echo_with_every_client(
    broker: Broker, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = results.with_suffix(".png")
    client.main(rounds=1, callers=4, requests=40, alone=10, url=broker.url, json=results, plot=plot)
    found = found_in(results, "client")
    assert [each["client"] for each in found] == list(client.CLIENTS)
    for each in found:
        for figure in ("alone_cpu_us", "alone_ratio_to_pika", "alone_p50_ms"):
            assert each[figure].keys() == SPREAD
            assert each[figure]["median"] > 0
        assert (each["many_cpu_us"] is None) == (each["client"] == client.BASELINE)
    assert plot.stat().st_size > 0
    assert "what a call costs its caller" in capsys.readouterr().out


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


def test_giving_up_finds_that_cancels_spare_the_model_requests_and_those_who_stay_a_wait(
    results: Path,
) -> None:
    giving_up.main(loads=(1.3,), requests=300, json=results)
    [row] = found_in(results, "giving_up")
    off, on = row["off"], row["on"]
    assert off["computed"] == row["requests"]
    assert on["computed"] >= row["requests"] - on["given_up"]
    assert on["computed"] < off["computed"]
    assert on["busy"] < off["busy"]
    assert on["latency"] < off["latency"]


def test_cache_serves_the_same_load_without_one_and_with_one(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.main(exponent=(1.2,), bodies=50, seconds=3, json=results)
    without, cached = found_in(results, "cache")
    assert without["requests"] == without["computed"] == cached["requests"]
    assert cached["computed"] < without["computed"] / 2
    assert "of the capacity" in capsys.readouterr().out


def test_shares_simulates_a_tenant_beside_one_that_floods(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares.main(load=(2.0,), broker_load=None, seconds=3, rounds=1, json=results)
    half, flood = found_in(results, "shares")
    assert [(each["where"], each["load"]) for each in (half, flood)] == [
        ("simulation", 0.5),
        ("simulation", 2),
    ]
    assert flood["alone"]["median"] > 2 * flood["shared"]["median"]
    assert "2, simulation" in capsys.readouterr().out


def test_neighbours_measures_the_honest_load_with_and_without_one_that_is_refused(
    broker: Broker, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    neighbours.main(rate=50, refused=(20.0,), seconds=0.5, rounds=1, url=broker.url, json=results)
    found = found_in(results, "neighbours")
    assert [each["refused_per_second"] for each in found] == [0, 20]
    assert all(each["p99_ms"].keys() == SPREAD for each in found)
    assert "50 honest requests/s" in capsys.readouterr().out
