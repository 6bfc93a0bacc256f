"""The two forms of the log."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from rpcb_trio._commands._logs import JsonFormatter, TextFormatter, report, write_logs
from rpcb_trio._commands._settings._shared import LogSettings


def record(message: str, *args: object, error: Exception | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("rpcb_trio", logging.WARNING, __file__, 1, message, args, exc_info)
    made.created = 1_700_000_000.25
    return made


def test_text_is_time_level_and_message() -> None:
    line = TextFormatter().format(record("%d lost", 3))
    assert line == "2023-11-14T22:13:20.250Z WARNING 3 lost"


def test_a_message_is_one_line_whatever_it_quotes_and_says_nothing_that_a_terminal_obeys() -> None:
    line = TextFormatter().format(record("no: %s", "a\n2023-11-14 INFO all is well\r\x1b[2J\u2028é"))
    assert line.endswith(r"WARNING no: a\n2023-11-14 INFO all is well\r\x1b[2J\u2028é")


def test_so_is_the_line_why_a_command_ends(capsys: pytest.CaptureFixture[str]) -> None:
    report("there is no\nqueue \x1b[2J")
    assert capsys.readouterr().err == "rpcb-trio: there is no queue \\x1b[2J\n"


def test_a_traceback_keeps_its_lines() -> None:
    line = TextFormatter().format(record("crashed", error=ValueError("oops")))
    assert line.splitlines()[1:] == ["ValueError: oops"]


def test_json_is_one_object_in_one_line() -> None:
    line = JsonFormatter().format(record('a "quote"\nand a line'))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "rpcb_trio",
        "message": 'a "quote"\nand a line',
    }


def test_json_carries_the_traceback() -> None:
    line = JsonFormatter().format(record("crashed", error=ValueError("oops")))
    assert "\n" not in line
    assert json.loads(line)["traceback"] == "ValueError: oops"


@pytest.mark.usefixtures("workplace")
def test_on_a_terminal_the_text_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    write_logs(LogSettings())
    assert type(logging.getLogger().handlers[-1]).__name__ == "RichHandler"


@pytest.mark.usefixtures("workplace")
def test_what_the_amqp_library_says_of_a_lost_connection_is_not_said_twice() -> None:
    write_logs(LogSettings())
    assert not logging.getLogger("aiormq.connection").isEnabledFor(logging.ERROR)
    assert logging.getLogger("asyncio").isEnabledFor(logging.ERROR)


@pytest.mark.usefixtures("workplace")
def test_libraries_below_do_not_chatter_at_debug() -> None:
    write_logs(LogSettings(log_level="debug"))
    assert logging.getLogger("rpcb_trio").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("models.of.a.user").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("aiormq.connection").isEnabledFor(logging.INFO)
