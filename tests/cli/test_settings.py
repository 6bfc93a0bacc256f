"""Where settings come from."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rpcb_trio import SettingError
from rpcb_trio._commands._app import parse
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import LogSettings
from rpcb_trio._commands._settings._values import BYTES, SECONDS

pytestmark = pytest.mark.usefixtures("workplace")

EVERY_SETTING = {
    "url": "amqp://me:secret@broker:5673/v",
    "url_file": "secret/url",
    "user": "me",
    "password": "se/cret",
    "password_file": "secret/password",
    "heartbeat": 7,
    "connect_timeout": 2.5,
    "model_version": "2026-11",
    "unload_first": True,
    "max_batches": 100,
    "max_memory": 2**30,
    "queue": "asr",
    "declare": "passive",
    "queue_type": "quorum",
    "consumer_timeout": 3600.5,
    "durable": False,
    "option": ["recogniser=quartznet"],
    "queue_argument": ["x-max-priority=10", "x-overflow=reject-publish"],
    "exchange": "asrExchange",
    "exchange_type": "direct",
    "routing_key": ["asr-en", "rpc-en"],
    "dead_letter_exchange": "dead",
    "dead_letter_routing_key": "asr",
    "on_refused_reply": "requeue",
    "max_batch_size": 16,
    "batching": "fixed",
    "max_wait": 0.25,
    "latency_objective": 0.5,
    "max_batch_cost": 90.5,
    "batch_size": [4, 16],
    "prefetch": 200,
    "prefetch_follows": False,
    "max_pending": 60,
    "tenant": "x-tenant",
    "weight": ["gold=3", "*=0.5"],
    "expired": "drop",
    "no_reply_to": "dead-letter",
    "max_body_size": 1000,
    "max_reply_size": 2000,
    "cancel": True,
    "claims": ["s3://bucket/claims"],
    "claims_kept": 3600.5,
    "check_caller": True,
    "remember_replies": 50,
    "cache": 90.5,
    "cache_max_bytes": 3000,
    "cache_header": ["x-language", "x-tenant"],
    "replicas": 3,
    "device": ["cuda:0", "cuda:1"],
    "executor": "process",
    "infer_timeout": 30.5,
    "hook_timeout": 20.5,
    "warm_up_timeout": 300.0,
    "max_deaths": 5,
    "journal": "state",
    "decode_threads": 4,
    "drain_timeout": 12.5,
    "batch_headers": True,
    "audit": "audit.jsonl",
    "events": "rpcb.events",
}


def expected(values: Mapping[str, Any]) -> Settings:
    return msgspec.convert(values, Settings)


def as_flags(values: Mapping[str, Any]) -> list[str]:
    flags = []
    for key, value in values.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        flags.extend(f"--{flag}={each}" for each in (value if isinstance(value, list) else [value]))
    return flags


def as_variables(values: Mapping[str, Any]) -> dict[str, str]:
    def text(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)

    return {f"RPCB_{key.upper()}": text(value) for key, value in values.items()}


def as_toml(values: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in values.items())


def base_settings(*argv: str) -> Settings:
    _, bound = parse(["serve", *argv])
    found = bound.arguments["settings"]
    assert isinstance(found, Settings)
    return found


def settings_of(argv: list[str], worker: str) -> tuple[str | None, Settings]:
    """The target and the settings of a worker of the file."""
    _, bound = parse(argv)
    target, settings = bound.arguments["sources"].of_worker(Settings, worker)
    assert isinstance(settings, Settings)
    return target, settings


def test_the_table_above_names_every_setting() -> None:
    assert set(EVERY_SETTING) == {each.name for each in dataclasses.fields(Settings)}
    for name, value in EVERY_SETTING.items():
        assert expected({name: value}) != Settings(), f"{name} is not told from its default"


def test_without_anything_the_defaults_hold() -> None:
    assert base_settings() == Settings()


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_each_setting_is_a_flag(name: str) -> None:
    only = {name: EVERY_SETTING[name]}
    assert base_settings(*as_flags(only)) == expected(only)


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_each_setting_is_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only = {name: EVERY_SETTING[name]}
    for variable, text in as_variables(only).items():
        monkeypatch.setenv(variable, text)
    assert base_settings() == expected(only)


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_each_setting_is_a_key_of_the_file(name: str, workplace: Path) -> None:
    only = {name: EVERY_SETTING[name]}
    (workplace / "rpcb.toml").write_text(as_toml(only))
    assert base_settings() == expected(only)


SIZES = st.none() | st.integers(1, 99)
KEYS = st.none() | st.lists(st.sampled_from("abc"), min_size=1, max_size=3)
SAYS = st.fixed_dictionaries(
    {"max_batch_size": SIZES, "routing_key": KEYS, "durable": st.none() | st.booleans()}
)


@given(flag=SAYS, variable=SAYS, worker=SAYS, top=SAYS)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_first_to_say_something_is_heard(
    flag: dict[str, Any],
    variable: dict[str, Any],
    worker: dict[str, Any],
    top: dict[str, Any],
    workplace: Path,
) -> None:
    """Flag, variable, [workers.NAME], top level, default; each setting on its own."""
    said = [
        {key: each for key, each in layer.items() if each is not None}
        for layer in (flag, variable, worker, top)
    ]
    (workplace / "rpcb.toml").write_text(f"{as_toml(said[3])}[workers.it]\n{as_toml(said[2])}")
    with mock.patch.dict(os.environ, as_variables(said[1])):
        _, found = settings_of(["serve", *as_flags(said[0])], "it")
        without_worker = base_settings(*as_flags(said[0]))
    assert found == expected({**said[3], **said[2], **said[1], **said[0]})
    assert without_worker == expected({**said[3], **said[1], **said[0]})


@pytest.mark.parametrize("key", ["option", "queue_argument"])
@pytest.mark.parametrize("table", [False, True], ids=["top", "worker"])
@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_pair_that_is_said_replaces_the_files_one_of_its_name_and_no_other(
    *, key: str, table: bool, by: str, workplace: Path
) -> None:
    pairs = as_toml({key: ["a=1", "b=2", "c=x=y"]})
    (workplace / "rpcb.toml").write_text(f"[workers.it]\n{pairs}" if table else f"{pairs}[workers.it]\n")
    said = {key: ["b=3", "d=4"]}
    with mock.patch.dict(os.environ, as_variables(said) if by == "variable" else {}):
        _, found = settings_of(["serve", *(as_flags(said) if by == "flag" else [])], "it")
    assert found == expected({key: ["b=3", "d=4", "a=1", "c=x=y"]})


def test_a_workers_own_pairs_are_not_joined_with_those_of_the_file_itself(workplace: Path) -> None:
    (workplace / "rpcb.toml").write_text('option = ["a=1"]\n[workers.it]\noption = ["b=2"]\n')
    assert settings_of(["serve"], "it")[1] == expected({"option": ["b=2"]})
    assert settings_of(["serve", "--option=c=3"], "it")[1] == expected({"option": ["c=3", "b=2"]})


def test_the_target_of_a_worker_may_be_shared_or_its_own(workplace: Path) -> None:
    (workplace / "rpcb.toml").write_text('target = "a:b"\n[workers.one]\n[workers.two]\ntarget = "c:d"\n')
    assert settings_of(["serve"], "one") == ("a:b", Settings())
    assert settings_of(["serve"], "two") == ("c:d", Settings())


@pytest.mark.parametrize("name", ["--config", "RPCB_CONFIG"])
def test_another_file_may_be_named(name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "rpcb.toml").write_text("replicas = 2")
    (workplace / "other.toml").write_text("replicas = 3")
    if name.startswith("RPCB"):
        monkeypatch.setenv(name, "other.toml")
        assert base_settings().replicas == 3
    else:
        assert base_settings(name, "other.toml").replicas == 3


def test_a_file_of_an_installed_package_may_be_named_from_anywhere(workplace: Path) -> None:
    assert base_settings("--config", "rpcb_models.asr:asr-en.toml").queue == "asr-en"
    with pytest.raises(SettingError, match=r"--config is rpcb_models:nowhere\.toml, which is not there"):
        base_settings("--config", "rpcb_models:nowhere.toml")


def test_log_settings_come_the_same_way(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "rpcb.toml").write_text('log_level = "error"\nlog_format = "json"\n')
    monkeypatch.setenv("RPCB_LOG_LEVEL", "warning")
    _, bound = parse(["serve"])
    assert bound.arguments["logs"] == LogSettings(log_level="warning", log_format="json")


def test_call_takes_the_broker_and_the_queue_from_the_same_places(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "rpcb.toml").write_text('queue = "q"\nexchange = "e"\nmax_batch_size = 3\nheartbeat = 9\n')
    monkeypatch.setenv("RPCB_URL", "amqp://elsewhere")
    _, bound = parse(["call", "hello"])
    settings = bound.arguments["settings"]
    assert (settings.queue, settings.url, settings.heartbeat) == ("q", "amqp://elsewhere", 9)
    assert "exchange" not in bound.arguments


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_wait", "100ms", 0.1),
        ("max_wait", "0.1", 0.1),
        ("infer_timeout", "2.5 min", 150.0),
        ("drain_timeout", "5m", 300.0),
        ("consumer_timeout", "1h", 3600.0),
        ("heartbeat", "30s", 30),
        ("max_body_size", "96MiB", 96 * 2**20),
        ("max_body_size", "1.5 kib", 1536),
        ("max_reply_size", "10MB", 10_000_000),
        ("max_reply_size", "1000", 1000),
    ],
)
@pytest.mark.parametrize("source", ["flag", "variable", "file"])
def test_times_and_sizes_may_be_written_with_a_unit_wherever_they_are_set(
    *, name: str, text: str, value: float, source: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "flag":
        found = base_settings(f"--{name.replace('_', '-')}={text}")
    elif source == "variable":
        monkeypatch.setenv(f"RPCB_{name.upper()}", text)
        found = base_settings()
    else:
        (workplace / "rpcb.toml").write_text(f'{name} = "{text}"')
        found = base_settings()
    assert getattr(found, name) == value


@given(st.integers(0, 2**50))
def test_a_size_is_shown_as_it_may_be_written(size: int) -> None:
    assert BYTES.read(BYTES.show(size)) == size


@given(st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_so_is_a_time(seconds: float) -> None:
    assert SECONDS.read(SECONDS.show(seconds)) == seconds


@pytest.mark.parametrize(
    ("value", "shown"), [(0.1, "100ms"), (2.5, "2.5s"), (30, "30s"), (90, "90s"), (600.0, "10m"), (0, "0")]
)
def test_a_time_is_shown_in_the_unit_that_a_person_would_choose(value: float, shown: str) -> None:
    assert SECONDS.show(value) == shown


def test_a_file_that_can_be_read_only_once_will_do_for_any_number_of_workers(workplace: Path) -> None:
    os.mkfifo(workplace / "piped")
    text = "queue = 'q'\n[workers.one]\ntarget = 'm:a'\n[workers.two]\ntarget = 'm:b'\nqueue = 'r'\n"
    writer = threading.Thread(target=(workplace / "piped").write_text, args=(text,))
    writer.start()
    _, bound = parse(["serve", "--config", "piped"])
    writer.join()
    sources = bound.arguments["sources"]
    found = {name: sources.of_worker(Settings, name) for name in sources.file.select([])}
    assert {name: (target, settings.queue) for name, (target, settings) in found.items()} == {
        "one": ("m:a", "q"),
        "two": ("m:b", "r"),
    }
