"""`--help` fits a screen, and what it leaves out is one flag or one command away."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_origin

import pytest

from rpcb_trio._commands._app import IMPORTED_WHEN_ASKED_FOR, command_line, parse
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._settings._file import FileTable
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._parameters import Reader, declared, kind_of
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import (
    ConnectionSettings,
    HealthSettings,
    LogSettings,
    MetricsSettings,
)
from rpcb_trio._commands._settings._sources import Sources
from tests.cli.conftest import Ended

Run = Callable[..., Ended]

COMMANDS = ("serve", *IMPORTED_WHEN_ASKED_FOR)


@pytest.fixture(autouse=True)
def _screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("command", ["", *COMMANDS, "demo", "settings", "exit-codes", "install-completion"])
def test_the_help_of_a_command_fits_a_screen_and_shows_an_example(command: str, run_command: Run) -> None:
    ended = run_command(*filter(None, [command]), "--help")
    assert ended.code == 0
    assert len(ended.out.splitlines()) <= 42
    assert max(map(len, ended.out.splitlines())) <= 80
    if command in COMMANDS:
        assert f"Example: rpcb-trio {command} " in ended.out
        assert "--help-all" in ended.out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("asked", ["--help", "--help-all"])
def test_every_flag_that_help_shows_is_explained(command: str, asked: str, run_command: Run) -> None:
    bare = re.compile(r"\*? *(\S+ )?--[a-z0-9-]+( [A-Z.=]+)?( *\[(default|choices).*\])?")
    lines = run_command(command, asked).out.splitlines()
    following = [*lines[1:], ""]
    assert [
        one
        for one, two in zip(lines, following, strict=True)
        if bare.fullmatch(one.strip()) and two[:1] != " "
    ] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_its_example_is_a_line_that_the_command_accepts(
    command: str, run_command: Run, workplace: Path
) -> None:
    text = " ".join(run_command(command, "--help").out.split())
    example = text.partition("Example: rpcb-trio ")[2].partition(" More settings:")[0].split()
    (workplace / "rpcb.toml").touch()
    _, bound = parse(example)
    assert bound.arguments


@pytest.mark.parametrize(
    ("command", "tables"),
    [
        ("serve", (Settings, LogSettings, HealthSettings, MetricsSettings)),
        ("doctor", (Settings,)),
        ("gateway", (GatewaySettings, LogSettings)),
        ("call", (ConnectionSettings,)),
        ("health", (HealthSettings,)),
    ],
)
def test_help_all_names_each_setting(command: str, tables: tuple[type, ...], run_command: Run) -> None:
    shown = run_command(command, "--help-all").out.split()
    for name in (name for table in tables for name in declared(table)):
        assert f"--{name.replace('_', '-')}" in shown


def test_the_common_settings_stand_in_groups(run_command: Run) -> None:
    text = run_command("serve", "--help").out
    groups = ["Service", "File", "Broker", "Topology", "Batching", "Executors", "Worker", "Logging"]
    places = [text.index(f"\n{group}:") for group in groups]
    assert places == sorted(places)
    for flag in ("--queue", "--max-batch-size", "--device", "--health-port"):
        assert flag in text
    assert "--heartbeat" not in text


def test_defaults_are_shown_with_their_units(run_command: Run) -> None:
    text = " ".join(run_command("serve", "--help-all").out.split())
    for default in ("96MiB", "30s", "1m", "30m"):
        assert f"[default: {default}]" in text


def test_a_flag_means_the_same_in_every_command() -> None:
    app, kinds = command_line(Sources()), defaultdict[str, set[object]](set)
    for command in COMMANDS:
        for argument in app[command].assemble_argument_collection():
            reader = argument.parameter.converter
            if isinstance(reader, Reader):
                kind = kind_of(argument.hint)
                kind = get_args(kind)[0] if get_origin(kind) is tuple else kind
                kinds[argument.name].add((kind, reader.unit and reader.unit.metavar))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_every_exit_code_is_a_row_of_a_page_of_its_own(run_command: Run) -> None:
    ended = run_command("exit-codes")
    for code in ExitCode:
        assert f"| {code.value} | {code.meaning} |" in ended.out.splitlines()


def test_the_page_of_settings_is_up_to_date(run_command: Run) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
    printed = run_command("settings").out
    begins = "## Of a worker and its process"
    assert page.read_text().partition(begins)[1:] == printed.partition(begins)[1:], (
        f"put what `rpcb-trio settings` prints at the end of {page}"
    )
    rows = [line.partition("`")[2].partition("`")[0] for line in printed.splitlines() if "| `" in line]
    assert set(rows) == {*declared(FileTable), *declared(GatewaySettings)}


def test_the_page_on_reloads_lists_what_is_live(run_command: Run) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating" / "reload.md").read_text()
    table = page.partition("| | live settings |")[2].partition("\n\n")[0]
    of_gateway = page.partition("These are live: ")[2].partition(". ")[0]
    for command, kinds, shown in (
        ("serve", (FileTable,), table),
        ("gateway", (GatewaySettings, LogSettings), of_gateway),
    ):
        live = {name for kind in kinds for name, (_, _, reader) in declared(kind).items() if reader.is_live}
        assert set(re.findall("`([a-z_]+)`", shown)) == live
        assert " ".join(run_command(command, "--help-all").out.split()).count("[live]") == len(live)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_by_a_command(
    shell: str, run_command: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(workplace))  # it adds a line to the shell's start-up file there
    monkeypatch.delenv("ZSH_CUSTOM", raising=False)
    monkeypatch.delenv("ZSH", raising=False)
    ended = run_command("install-completion", "--shell", shell, "--output", "completion")
    assert ended.code == 0
    script = (workplace / "completion").read_text()
    for word in ("simulate", "max-batch-size", "exit-codes"):
        assert word in script


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


def test_a_worker_that_starts_waits_neither_for_the_amqp_library_nor_for_what_draws_on_terminals() -> None:
    read = "from rpcb_trio._commands._app import parse; parse(['serve', 'm:a', '--queue', 'q'])"
    assert imported_by(read).isdisjoint({"aiormq", "rich"})
