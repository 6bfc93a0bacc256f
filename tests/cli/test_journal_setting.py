"""Where the command keeps its death journal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands.serve._setup import journal_of
from tests.cli.conftest import Ended


def test_by_default_it_is_in_the_users_directory_of_state(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert journal_of("asr", Settings()) == workplace / "state" / "rpcb-trio"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(workplace / "home"))
    assert journal_of("asr", Settings()) == workplace / "home" / ".local" / "state" / "rpcb-trio"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert journal_of("asr", Settings()) == workplace / "home" / ".local" / "state" / "rpcb-trio", (
        "as it says"
    )


def test_an_empty_value_is_none(workplace: Path) -> None:
    assert journal_of("asr", Settings(journal="")) == journal_of("asr", Settings())


def test_without_a_home_there_is_none_and_one_line_says_so(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert journal_of("asr", Settings()) is None
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("asr: there is no journal (Could not determine home directory.)")
    assert "set journal to a directory that is yours, or to off" in record.getMessage()


def test_it_can_be_elsewhere_or_off() -> None:
    assert journal_of("asr", Settings(journal="elsewhere")) == Path("elsewhere")
    assert journal_of("asr", Settings(journal="off")) is None


@pytest.mark.parametrize("argv", [[], ["--journal=elsewhere"]], ids=["the default", "a named one"])
def test_one_that_cannot_be_used_stops_only_who_named_it(
    argv: list[str], workplace: Path, run_command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(workplace / "file"))
    for name in ("file", "elsewhere", "echo.py"):
        (workplace / name).touch()
    (workplace / "echo.py").write_text("def echo(bodies): return bodies")
    ended = run_command("serve", "echo:echo", "--queue=q", "--url=amqp://localhost:1/", *argv)
    told = [line for line in ended.err.splitlines() if "journal" in line]
    [line] = told
    if argv:
        assert ended.code == ExitCode.WRONG_SETTING
        assert (
            f"journal is {workplace}/elsewhere, which can't be used (File exists), so a request that" in line
        )
    else:
        assert ended.code == ExitCode.UNREACHABLE
        assert f"journal is {workplace}/file/rpcb-trio, which can't be used (Not a directory)" in line
