"""A command whose own streams are closed, full, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(command_line: str, *, unbuffered: str = "", **variables: str) -> tuple[int, list[str]]:
    """Run a shell's command line; returns its exit code and what came on stderr."""
    done = subprocess.run(
        ["/bin/sh", "-c", command_line],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env={
            **os.environ,
            "PYTHONUNBUFFERED": unbuffered,
            "RPCB": f"{sys.executable} -m rpcb_trio",
            "NOBODY": "--queue nowhere --url amqp://127.0.0.1:1/",
            **variables,
        },
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_can_not_be_written_is_told_in_one_line(unbuffered: str) -> None:
    code, lines = run("$RPCB --help > /dev/full", unbuffered=unbuffered)
    assert (code, lines) == (1, ["rpcb-trio: standard output can't be written: No space left on device"])


def test_who_reads_no_further_gets_no_traceback() -> None:
    _, lines = run("$RPCB --help | exit")
    assert lines in ([], ["rpcb-trio: standard output can't be written: Broken pipe"])


def test_a_command_whose_streams_are_closed_ends_as_it_would() -> None:
    assert run("$RPCB no-such-command <&- >&- 2>&-") == (2, [])
    assert run("$RPCB --help <&- >&- 2>&-") == (0, [])


COMMANDS = [
    ("--help", 0),
    ("load --help", 0),
    ("demo --help", 0),
    ("doctor --queue '\N{SNOWMAN}\xfc' --url amqp://127.0.0.1:1/", 13),
    ("call hello $NOBODY", 5),
    ("load hello $NOBODY", 5),
    ("serve '\N{SNOWMAN}:\xfc' $NOBODY", 2),
    ("health --health-port 1", 1),
]
WITH_TEXT_OF_OTHERS = [each for each in COMMANDS if not each[0].isascii()]


@pytest.mark.parametrize(
    ("encoding", "commands"),
    [("ascii", COMMANDS), ("latin-1", WITH_TEXT_OF_OTHERS), ("gbk", WITH_TEXT_OF_OTHERS)],
    ids=["ascii", "latin-1", "gbk"],
)
def test_no_encoding_of_the_terminal_ends_a_command_with_a_traceback(
    encoding: str, commands: list[tuple[str, int]]
) -> None:
    script = "".join(f"$RPCB {argv} >/dev/null; echo $? >&2\n" for argv, _ in commands)
    _, lines = run(script, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert [int(line) for line in lines if line.isdecimal()] == [code for _, code in commands]
    assert not [line for line in lines if "Traceback" in line or "codec" in line]


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}], ids=str
)
def test_nor_does_the_locale(locale: dict[str, str]) -> None:
    code, lines = run("$RPCB --help >/dev/null", PYTHONUTF8="0", **locale)
    assert (code, lines) == (0, [])


@pytest.mark.parametrize("command", ["doctor $NOBODY", "health --health-port 1"])
@pytest.mark.parametrize("reader", ["| exit", "> /dev/full", ">&-", "1</dev/null"])
def test_no_command_shows_a_traceback_to_who_stops_reading(command: str, reader: str) -> None:
    _, lines = run(f"$RPCB {command} {reader}")
    assert [
        line for line in lines if not line.startswith("rpcb-trio: standard output can't be written: ")
    ] == []


def test_nor_does_one_whose_stderr_is_gone_as_well() -> None:
    assert run("$RPCB no-such-command 2>&1 | exit")[1] == []
    assert run("$RPCB serve x:y --queue q 2>/dev/full") == (2, [])
