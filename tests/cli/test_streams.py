"""A command whose own streams are closed, full, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(command_line: str, *, unbuffered: str = "") -> tuple[int, list[str]]:
    """Run a shell's command line; returns its exit code and what came on stderr."""
    done = subprocess.run(
        ["/bin/sh", "-c", command_line],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered, "RPCB": f"{sys.executable} -m rpcb_trio"},
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
