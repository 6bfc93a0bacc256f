"""`--help` tells all that there is to set."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import ConnectionSettings, LogSettings
from rpcb_trio._commands.health._command import HealthSettings
from tests.cli.conftest import Ended

Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("serve", Settings),
        ("serve", LogSettings),
        ("serve", HealthSettings),
        ("call", ConnectionSettings),
        ("health", HealthSettings),
        ("doctor", Settings),
    ],
)
def test_help_names_each_setting_with_its_variable(
    command: str, settings: type[Settings | LogSettings | HealthSettings], run_command: Run
) -> None:
    ended = run_command(command, "--help")
    assert ended.code == 0
    for each in dataclasses.fields(settings):
        assert f"--{each.name.replace('_', '-')}" in ended.out
        assert f"RPCB_{each.name.upper()}]" in ended.out


def test_settings_are_shown_in_groups(run_command: Run) -> None:
    text = run_command("serve", "--help").out
    groups = ["Service", "File", "Broker", "Topology", "Batching", "Executors", "Worker", "Logging"]
    places = [text.index(f"─ {group} ─") for group in groups]
    assert places == sorted(places)


@pytest.mark.parametrize("argv", [[], ["--help"], ["serve", "--help"], ["call", "--help"]])
def test_help_ends_with_the_exit_codes(argv: list[str], run_command: Run) -> None:
    ended = run_command(*argv)
    assert ended.code == 0
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in ended.out


def test_a_broken_file_does_not_keep_help_away(run_command: Run, workplace: Path) -> None:
    (workplace / "rpcb.toml").write_text("nonsense")
    assert run_command("serve", "--help").code == 0


def test_the_version_is_the_packages(run_command: Run) -> None:
    assert run_command("--version").out.startswith("0.")


FOREIGN = ["aiormq", "asyncio", "cyclopts", "pamqp", "rich", "torch", "trio_asyncio"]


def imported_by(program: str) -> set[str]:
    told = f"{program}\nimport sys\nprint(*[each for each in {FOREIGN} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_no_command_line_and_no_asyncio() -> None:
    assert imported_by("import rpcb_trio") == set()


def test_asking_for_help_does_not_wait_for_the_amqp_library() -> None:
    assert "aiormq" not in imported_by("import rpcb_trio._commands")
