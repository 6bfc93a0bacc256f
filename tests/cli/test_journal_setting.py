"""Where the command keeps its death journal."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rpcb_trio._cli._settings import Settings
from rpcb_trio._cli._setup import journal_of


def test_by_default_it_is_in_the_users_directory_of_state(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert journal_of("asr", Settings()) == workplace / "state" / "rpcb-trio"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(workplace / "home"))
    assert journal_of("asr", Settings()) == workplace / "home" / ".local" / "state" / "rpcb-trio"
    made = workplace / "home" / ".local" / "state" / "rpcb-trio"
    assert made.is_dir()
    assert made.stat().st_mode & 0o777 == 0o700, "it is its owner's alone"


def test_where_that_cannot_be_written_there_is_none_and_one_line_says_so(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (workplace / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(workplace / "file"))
    assert journal_of("asr", Settings()) is None
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("asr: there is no journal (")
    assert "set journal to a directory that is yours, or to off" in record.getMessage()


def test_it_can_be_elsewhere_or_off() -> None:
    assert journal_of("asr", Settings(journal="elsewhere")) == Path("elsewhere")
    assert journal_of("asr", Settings(journal="off")) is None
