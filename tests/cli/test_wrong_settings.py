"""A wrong setting is one line that says where it stands and what to do, and the exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]

SERVICE = "def echo(bodies): return bodies\n"


@pytest.fixture(autouse=True)
def _service(workplace: Path) -> None:
    (workplace / "service.py").write_text(SERVICE)


def refused(ended: Ended, *parts: str) -> None:
    assert ended.code == 2
    assert ended.out == ""
    assert ended.line.startswith("rpcb-trio: ")
    for part in parts:
        assert part in ended.line


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--max-batch-size", "0"], ["--max-batch-size", "0", "at least 1"]),
        (["--max-batch-size", "3.5"], ["--max-batch-size", "3.5", "whole number"]),
        (["--max-batch-size", "many"], ["--max-batch-size", "many"]),
        (["--max-batchsize", "3"], ["--max-batchsize", "Did you mean --max-batch-size?"]),
        (["--max-wait", "-1"], ["--max-wait", "at least 0"]),
        (["--max-wait=-1ms"], ["--max-wait: -1ms: it must be at least 0."]),
        (["--cache-max-bytes", "1000B"], ["--cache-max-bytes: 1000B: it must be at least 1KiB."]),
        (["--max-wait", "0.1"], ["max_wait", "batching = fixed"]),
        (["--batching", "fixed", "--latency-objective", "1"], ["latency_objective", "batching = auto"]),
        (["--batching", "fixed", "--batch-size", "32"], ["batch_size", "batching = auto"]),
        (["--batch-size", "4"], ["batch_sizes", "max_batch_size (32)"]),
        (["--batch-size", "4.5"], ["--batch-size"]),
        (["--max-batch-cost", "0"], ["--max-batch-cost", "more than 0"]),
        (["--latency-objective", "0"], ["--latency-objective", "more than 0"]),
        (["--max-wait", "nan"], ["--max-wait"]),
        (["--max-wait", "inf"], ["--max-wait"]),
        (["--declare", "activ"], ["--declare", "passive", 'Did you mean "active"?']),
        (["--log-format", "xml"], ["--log-format", "json"]),
        (["--heartbeat", "70000"], ["--heartbeat", "65534"]),
        (["--prefetch", "40"], ["prefetch", "40", "64", "max_batch_size"]),
        (["--max-pending", "31"], ["max_pending", "31", "max_batch_size", "32"]),
        (["--max-pending", "64", "--prefetch", "64"], ["max_pending", "raise prefetch to 97"]),
        (["--expired", "dropped"], ["--expired", "answer", 'Did you mean "drop"?']),
        (["--prefetch"], ["--prefetch", "requires an argument"]),
        (["--url", "http://localhost"], ["url", "amqp://"]),
        (["--routing-key", "rpc"], ["routing_key", "exchange"]),
        (["--queue-argument", "x-max-priority"], ["x-max-priority", "NAME=VALUE"]),
        (["--audit", "nowhere/audit.jsonl"], ["audit", "nowhere/audit.jsonl", "directory"]),
        (["--config", "nowhere.toml"], ["nowhere.toml", "no such file"]),
        (["--worker", "asr"], ["TARGET", "--worker"]),
        (["another"], ["nothing takes 'another'", "serve --help"]),
    ],
)
def test_a_wrong_flag(flags: list[str], parts: list[str], run_command: Run) -> None:
    refused(run_command("serve", "service:echo", "--queue=q", *flags), *parts)


@pytest.mark.parametrize(
    ("variable", "text", "parts"),
    [
        ("RPCB_MAX_BATCH_SIZE", "many", ["RPCB_MAX_BATCH_SIZE", "many"]),
        ("RPCB_MAX_BATCH_SIZE", "0", ["RPCB_MAX_BATCH_SIZE", "at least 1"]),
        ("RPCB_DURABLE", "perhaps", ["RPCB_DURABLE", "perhaps"]),
        ("RPCB_DECLARE", "sometimes", ["RPCB_DECLARE", "passive"]),
        ("RPCB_CONFIG", "nowhere.toml", ["nowhere.toml", "RPCB_CONFIG"]),
    ],
)
def test_a_wrong_variable(
    variable: str, text: str, parts: list[str], run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    refused(run_command("serve", "service:echo", "--queue=q"), *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("max_batchsize = 3", ["rpcb.toml", "max_batchsize", "did you mean max_batch_size?"]),
        ("nonsense = 3", ["rpcb.toml", "nonsense", "serve --help-all"]),
        ('max_batch_size = "32"', ["rpcb.toml", "max_batch_size", "a whole number"]),
        ("max_batch_size = 3.5", ["rpcb.toml", "max_batch_size", "a whole number"]),
        ("max_batch_size = true", ["rpcb.toml", "max_batch_size", "a whole number"]),
        ("max_batch_size = 0", ["rpcb.toml", "max_batch_size", "at least 1"]),
        ('heartbeat = "20h"', ['rpcb.toml: heartbeat = "20h": it must be at most 65534s']),
        ('routing_key = "rpc"', ["rpcb.toml", "routing_key", "an array"]),
        ('declare = "sometimes"', ["rpcb.toml", "declare", "active, passive, never"]),
        ("max_wait = 1979-05-27", ["rpcb.toml", "max_wait"]),
        ("max_wait =\nprefetch = 3", ["rpcb.toml", "line 1"]),
        ("[serve]\nqueue = 'q'", ["rpcb.toml", "no table [serve]", "stand at the top or in [workers.NAME]"]),
        ("workers = 3", ["rpcb.toml", "workers"]),
        ("[workers.asr]\nreplica = 3", ["rpcb.toml [workers.asr]", "did you mean replicas?"]),
        ("[workers.asr]\nlog_level = 'info'", ["rpcb.toml [workers.asr]", "whole process"]),
    ],
)
def test_a_wrong_key_of_the_file(text: str, parts: list[str], run_command: Run, workplace: Path) -> None:
    (workplace / "rpcb.toml").write_text(text)
    refused(run_command("serve", "service:echo", "--queue=q"), *parts)


@pytest.mark.parametrize(
    ("text", "flags", "parts"),
    [
        ("", [], ["TARGET is missing", "[workers.NAME]"]),
        ("[workers.asr]", [], ["[workers.asr]", "target"]),
        ("[workers.asr]\ntarget='service:echo'", [], ["asr", "queue is missing"]),
        ("[workers.asr]\ntarget='service:echo'", ["--worker=sar"], ["sar", "did you mean asr?"]),
        ("", ["--worker=asr"], ["asr", "no workers"]),
        (
            "[workers.asr]\ntarget='service:echo'\nmax_wait=-1",
            [],
            ["max_wait", "[workers.asr]", "at least 0"],
        ),
        ("[workers.asr]\ntarget='service:ecko'\nqueue='q'", [], ["service:ecko", "did you mean echo?"]),
    ],
)
def test_a_wrong_worker_of_the_file(
    text: str, flags: list[str], parts: list[str], run_command: Run, workplace: Path
) -> None:
    (workplace / "rpcb.toml").write_text(text)
    refused(run_command("serve", *flags), *parts)


TWO_WORKERS = "[workers.one]\ntarget='service:echo'\n[workers.two]\ntarget='another:echo'\n"


def test_two_services_on_one_queue_are_refused_before_anything_is_loaded(
    run_command: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "rpcb.toml").write_text(TWO_WORKERS)
    parts = ["one and two serve different targets from one queue, q,", "[workers.NAME]", "RPCB_QUEUE"]
    refused(run_command("serve", "--queue=q"), *parts)
    monkeypatch.setenv("RPCB_QUEUE", "q")
    refused(run_command("serve"), *parts)


def test_a_queue_of_another_broker_and_another_worker_of_the_same_target_are_not_refused_for_it(
    run_command: Run, workplace: Path
) -> None:
    (workplace / "rpcb.toml").write_text(
        TWO_WORKERS + "url='amqp://elsewhere'\n[workers.three]\ntarget='service:echo'"
    )
    refused(run_command("serve", "--queue=q"), "there is no module another")


def test_a_worker_that_is_not_asked_for_may_be_incomplete(run_command: Run, workplace: Path) -> None:
    (workplace / "rpcb.toml").write_text("[workers.one]\n[workers.two]\ntarget='service:echo'\n")
    refused(run_command("serve", "--worker=two"), "two: queue is missing")


def test_a_file_that_is_no_text(run_command: Run, workplace: Path) -> None:
    (workplace / "rpcb.toml").write_bytes(b"\xff\xff")
    refused(run_command("serve", "service:echo", "--queue=q"), "rpcb.toml", "it is not UTF-8")


def test_a_missing_queue(run_command: Run) -> None:
    refused(run_command("serve", "service:echo"), "queue is missing", "--queue", "RPCB_QUEUE", "rpcb.toml")


def test_a_wrong_flag_points_to_the_help_of_its_command(run_command: Run) -> None:
    refused(run_command("serve", "service:echo", "--devices=cpu"), "See rpcb-trio serve --help.")


def test_an_unknown_command(run_command: Run) -> None:
    refused(run_command("sevre"), "sevre", 'Did you mean "serve"?', "See rpcb-trio --help.")


def test_with_json_logs_the_line_is_json(run_command: Run) -> None:
    ended = run_command("serve", "service:echo", "--log-format=json")
    assert ended.code == 2
    assert '"level":"critical"' in ended.line
    assert "queue is missing" in ended.line
