"""What variables bring that nobody meant: other programs' names, empty values, quotes and marks."""

from __future__ import annotations

import dataclasses
import inspect
import ipaddress
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rpcb_trio._commands._app import parse
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import HealthSettings, MetricsSettings
from rpcb_trio._commands._settings._sources import unknown_variables
from tests.cli.conftest import Ended

pytestmark = pytest.mark.usefixtures("workplace")

Run = Callable[..., Ended]


def read(command: str, *flags: str) -> dict[str, Any]:
    """What a command would be called with, but for defaults."""
    called, bound = parse([command, *flags])
    defaults = {name: each.default for name, each in inspect.signature(called).parameters.items()}
    return {
        name: value
        for name, value in bound.arguments.items()
        if name != "sources" and value != defaults[name]
    }


def links_of(service: str, address: str, port: int, protocol: str) -> dict[str, str]:
    """What Kubernetes sets in a container for a Service, by the kubelet's own rules."""
    name = service.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    one = f"{name}_PORT_{port}_{protocol.upper()}"
    return {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_AMQP": str(port),
        f"{name}_PORT": f"{protocol}://{host}:{port}",
        one: f"{protocol}://{host}:{port}",
        f"{one}_PROTO": protocol,
        f"{one}_PORT": str(port),
        f"{one}_ADDR": address,
    }


SERVICES = ["rpcb", "rpcb-health", "rpcb-url", "rpcb-queue", "rpcb-max-batch-size", "rpcb-gateway-v2"]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("address", "protocol"), [("10.96.0.7", "tcp"), ("fd00:10:96::a", "tcp"), ("10.96.0.7", "udp")]
)
def test_the_variables_that_kubernetes_sets_for_a_service_are_not_ours_whatever_it_is_called(
    service: str, address: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in links_of(service, address, 5672, protocol).items():
        monkeypatch.setenv(name, value)
    assert read("gateway") == {}
    assert read("serve", "m:a") == {"target": "m:a"}
    assert read("health") == {}
    assert unknown_variables() == []


@given(
    label=st.from_regex(r"rpcb(-[a-z0-9]{1,8}){0,4}", fullmatch=True),
    address=st.ip_addresses(),
    port=st.integers(1, 65535),
    protocol=st.sampled_from(["tcp", "udp", "sctp"]),
)
@hypothesis_settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_name_of_a_service_makes_its_variables_settings(
    label: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, protocol: str
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in links_of(label, str(address), port, protocol).items():
            monkeypatch.setenv(name, value)
        assert read("gateway") == {}
        assert read("serve", "m:a") == {"target": "m:a"}
        assert unknown_variables() == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RPCB_PORT", "tcp"),
        ("RPCB_PORT", "tcp://"),
        ("RPCB_PORT", "tcp://gateway.internal:80"),
        ("RPCB_PORT", "http://10.0.0.1:80"),
        ("RPCB_PORT", "10.0.0.1:80"),
        ("RPCB_MAX_IN_FLIGHT", "tcp://10.0.0.1:80"),
    ],
)
def test_a_wrong_value_of_a_setting_is_no_link_and_still_an_error(
    variable: str, value: str, run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    ended = run_command("gateway", "--rpc=q")
    assert ended.code == 2
    assert variable in ended.line
    assert "whole number" in ended.line


def test_a_flag_is_never_taken_for_a_link(run_command: Run) -> None:
    ended = run_command("gateway", "--rpc=q", "--port", "tcp://10.0.0.1:80")
    assert ended.code == 2
    assert "--port" in ended.line


FIELDS = {
    "serve": [
        each for table in (Settings, HealthSettings, MetricsSettings) for each in dataclasses.fields(table)
    ],
    "gateway": dataclasses.fields(GatewaySettings),
}


@pytest.mark.parametrize("value", ["", " ", "\t", "\n", "\r", '""', "''", "\ufeff"], ids=ascii)
@pytest.mark.parametrize("command", FIELDS)
def test_an_empty_variable_is_an_unset_one(command: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in FIELDS[command]:
        monkeypatch.setenv(f"RPCB_{each.name.upper()}", value)
    for name in ("CONFIG", "TARGET", "LOG_LEVEL", "LOG_FORMAT"):
        monkeypatch.setenv(f"RPCB_{name}", value)
    assert read(command) == {}
    assert unknown_variables() == []


def test_what_an_empty_variable_leaves_open_the_file_says(
    workplace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "rpcb.toml").write_text('queue = "asr"\nmax_batch_size = 8\n')
    monkeypatch.setenv("RPCB_QUEUE", "")
    monkeypatch.setenv("RPCB_MAX_BATCH_SIZE", "")
    settings = read("serve", "m:a")["settings"]
    assert (settings.queue, settings.max_batch_size) == ("asr", 8)


@pytest.mark.parametrize(
    "flag", ["--journal", "--audit", "--url-file", "--events", "--config", "--health-host"]
)
def test_a_flag_that_is_empty_is_told_by_name(flag: str, run_command: Run) -> None:
    ended = run_command("serve", "m:a", "--queue=q", flag, "")
    assert ended.code == 2
    assert flag in ended.line
    assert "empty" in ended.line


@pytest.mark.parametrize("key", ["journal", "audit", "url_file", "events", "health_host"])
def test_a_key_that_is_empty_is_told_by_name(key: str, run_command: Run, workplace: Any) -> None:
    (workplace / "rpcb.toml").write_text(f'{key} = ""\n')
    ended = run_command("serve", "m:a", "--queue=q")
    assert ended.code == 2
    assert key in ended.line
    assert "empty" in ended.line


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        '"{}"',
        "'{}'",
        "{}\r",
        "{}\n",
        "{}\r\n",
        "\ufeff{}",
        '\ufeff"{}"\r\n',
        " {} ",
        '"\ufeff{}"',
        "'\"{}\"'",
        "\u201c{}\u201d",
        "\u200b{}\xa0",
    ],
    ids=ascii,
)
def test_what_an_env_file_leaves_around_a_value_is_not_part_of_it(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "RPCB_URL": "amqp://u:p@h/",
        "RPCB_QUEUE": "my asr",
        "RPCB_MAX_BATCH_SIZE": "8",
        "RPCB_MAX_WAIT": "0.5",
        "RPCB_BATCHING": "fixed",
        "RPCB_DURABLE": "false",
        "RPCB_OPTION": "a=1,b=x y",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, form.format(value))
    settings = read("serve", "m:a")["settings"]
    assert (settings.url, settings.queue, settings.max_batch_size) == ("amqp://u:p@h/", "my asr", 8)
    assert (settings.max_wait, settings.batching, settings.durable) == (0.5, "fixed", False)
    assert settings.option == ("a=1", "b=x y")


def test_quotes_that_are_not_around_the_whole_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPCB_QUEUE", '"a" and "b"')
    monkeypatch.setenv("RPCB_OPTION", '"a=1","b=2"')
    settings = read("serve", "m:a")["settings"]
    assert settings.queue == '"a" and "b"'
    assert settings.option == ("a=1", "b=2")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--max-batch-size", "\uff11\uff16"),
        ("--max-batch-size", " 16"),
        ("--max-batch-size", "1_6"),
        ("--max-batch-size", "0x10"),
        ("--max-batch-size", "1e1"),
        ("--batch-size", "\uff13\uff12"),
        ("--max-wait", "\uff11"),
        ("--max-wait", "1_0"),
        ("--drain-timeout", "\u0663"),
        ("--max-batch-cost", "1_000"),
    ],
)
def test_a_number_is_written_in_plain_digits(flag: str, value: str, run_command: Run) -> None:
    ended = run_command("serve", "m:a", "--queue=q", "--batching=fixed", flag, value)
    assert ended.code == 2
    assert flag in ended.line
    assert "is not a" in ended.line


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("load", "--callers", "\uff11"),
        ("load", "--requests", "1_0"),
        ("load", "--rate", "\u0663"),
        ("top", "--interval", "1_0"),
        ("call", "--timeout", "\uff11"),
        ("simulate", "--replicas", "1_0"),
        ("tune", "--replicas", "1_0"),
    ],
)
def test_so_is_a_number_of_any_other_command(command: str, flag: str, value: str, run_command: Run) -> None:
    ended = run_command(command, "x", "--queue=q", flag, value) if command in ("load", "call") else None
    ended = ended or run_command(command, *(["x"] if command in ("simulate", "tune") else []), flag, value)
    assert ended.code == 2
    assert flag in ended.line
    assert "is not a" in ended.line


@pytest.mark.parametrize("value", ["100", "0.1", "100ms", "5 min", "1h"])
def test_a_time_with_a_unit_that_is_known_is_accepted(value: str) -> None:
    assert read("serve", "m:a", "--batching=fixed", "--max-wait", value)["settings"].max_wait > 0


@pytest.mark.parametrize(
    ("flag", "value", "part"),
    [
        ("--max-wait", "soon", '"soon" is not a time; write it as 100ms, 30s or 5m, or in plain seconds'),
        ("--max-wait", "3 weeks", '"3 weeks" is not a time; write it as 100ms'),
        ("--max-wait", "1_0", '"1_0" is not a time'),
        ("--max-wait", "10MiB", '"10MiB" is not a time'),
        (
            "--max-body-size",
            "96M",
            '"96M" is not a size; write it as 96MiB, 10MB or 512KiB, or in plain bytes',
        ),
        ("--max-body-size", "10s", '"10s" is not a size'),
        ("--max-body-size", "1.5B", '"1.5B" is not a whole number'),
        ("--max-body-size", "0MiB", "it must be at least 1"),
    ],
)
def test_a_wrong_unit_is_told_in_one_line_with_the_right_ones(
    flag: str, value: str, part: str, run_command: Run
) -> None:
    ended = run_command("serve", "m:a", "--queue=q", flag, value)
    assert ended.code == 2
    assert f"Invalid value for {flag}: " in ended.line
    assert part in ended.line


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RPCB_MAX_BATCHSIZE", "RPCB_MAX_BATCH_SIZE"),
        ("RPCB_LOGLEVEL", "RPCB_LOG_LEVEL"),
        ("RPCB_QUEU", "RPCB_QUEUE"),
        ("rpcb_max_wait", "RPCB_MAX_WAIT"),
        ("RPCB-MAX-WAIT", "RPCB_MAX_WAIT"),
        ("\ufeffRPCB_URL", "RPCB_URL"),
        ("RPCB_URL ", "RPCB_URL"),
    ],
)
def test_a_variable_that_is_no_setting_is_told_with_the_nearest_one(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "8")
    [line] = unknown_variables()
    assert f"did you mean {nearest}?" in line


def test_one_that_is_near_to_none_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPCB_CONCURRENCY", "8")
    [line] = unknown_variables()
    assert line.startswith("RPCB_CONCURRENCY is set, but there is no such setting")


def test_variables_of_other_commands_and_of_tests_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RPCB_PORT", "RPCB_MAX_UPLOAD", "RPCB_EVENTS", "RPCB_TEST_AMQP_URL", "RPCBX"):
        monkeypatch.setenv(name, "1")
    assert unknown_variables() == []


@pytest.mark.parametrize("command", ["serve", "gateway"])
def test_a_worker_and_a_gateway_say_so_at_their_start(
    command: str, run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPCB_MAX_BATCHSIZE", "8")
    ended = run_command(command)
    assert ended.code == 2
    assert "did you mean RPCB_MAX_BATCH_SIZE?" in ended.err


@pytest.mark.parametrize("argv", [["call", "hello", "--queue=q"], ["top", "--events=e"]])
def test_commands_without_a_log_say_so_in_a_line_of_its_own(
    argv: list[str], run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPCB_URLL", "amqp://elsewhere")
    ended = run_command(*argv, "--url", "amqp://127.0.0.1:1/")
    assert ended.code == 5
    first, _ = ended.err.splitlines()
    assert first == "rpcb-trio: RPCB_URLL is set, but there is no such setting; did you mean RPCB_URL?"


def test_a_value_that_is_no_text_is_told_in_one_line(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPCB_QUEUE", "\udcff")
    ended = run_command("serve", "m:a")
    assert ended.code == 2
    assert "RPCB_QUEUE" in ended.line
    assert "UTF-8" in ended.line
