"""A flood of bad requests is a few lines in the log, and how many they were."""

from __future__ import annotations

import logging

import pytest

from rpcb_trio._commands._flood import MOST_ALIKE, SECONDS, FloodFilter


class Log:
    """What is written, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self._filter = FloodFilter(lambda: self.now)

    def write(self, text: str, *args: object, level: int = logging.WARNING, code: str | None = None) -> None:
        record = logging.LogRecord("x", level, "f", 1, text, args, None)
        record.code = code
        if self._filter.filter(record):
            self.lines.append(record.getMessage())


def test_of_lines_that_are_alike_the_first_are_written_and_the_rest_is_counted() -> None:
    log = Log()
    for n in range(3000):
        log.write("request %r: 100%% bad", n)
    assert len(log.lines) == MOST_ALIKE
    assert log.lines[0] == "request 0: 100% bad"
    assert log.lines[-1].endswith(f"(more like it are only counted for {SECONDS:g} s)")
    log.now = SECONDS
    log.write("request %r: 100%% bad", 3000)
    assert log.lines[-1] == f"request 3000: 100% bad (and {3000 - MOST_ALIKE} like it, not written)"
    log.write("request %r: 100%% bad", 3001)
    assert log.lines[-1] == "request 3001: 100% bad"


def test_a_flood_hides_no_line_of_another_kind() -> None:
    log = Log()
    for n in range(100):
        log.write("request %r failed", n, code="decode")
    log.write("request %r failed", 100, code="infer")
    log.write("session lost")
    assert log.lines[-2:] == ["request 100 failed", "session lost"]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR, logging.CRITICAL])
def test_errors_and_what_was_asked_for_are_always_written(level: int) -> None:
    log = Log()
    for n in range(100):
        log.write("line %d", n, level=level)
    assert len(log.lines) == 100
