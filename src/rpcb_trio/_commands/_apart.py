"""The worker's own log, apart from `logging`'s configuration, which belongs to the user's modules.

A module that is served may configure logging at any time: with `dictConfig` (which disables every logger
that it does not name), with `basicConfig(force=True)`, with levels, filters, factories. That is for its own
lines. The loggers of this package write to a handler of their own, whatever the configuration says, and to no
other, so that no line is lost or written twice. The handler has a descriptor of its own, too: some models
close stderr, or send it elsewhere for a while.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import suppress
from typing import Any, ClassVar, TextIO

from rpcb_trio._forks import close_in_children

ROOT = "rpcb_trio"

STDERR = 2


class ApartLogger(logging.Logger):
    """A logger that goes by `level` and `handler` alone."""

    level_apart: ClassVar[int] = logging.INFO
    handler_apart: ClassVar[logging.Handler | None] = None

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        return level >= self.level_apart

    def getEffectiveLevel(self) -> int:  # noqa: N802 - logging's name
        return self.level_apart

    def makeRecord(self, *given: Any, **_: Any) -> logging.LogRecord:  # noqa: N802 - logging's name
        """A plain record, made by no factory of the user's."""
        *of_record, extra, stack = given
        record = logging.LogRecord(*of_record)
        record.stack_info = stack
        record.__dict__.update(extra or {})
        return record

    def handle(self, record: logging.LogRecord) -> None:
        """Write it, though the logger is disabled, filtered or has other handlers."""
        if self.handler_apart is not None:
            self.handler_apart.handle(record)


def set_apart(level: int, handler: logging.Handler) -> None:
    """Have the loggers of this package write to this handler only; again for those that are made later."""
    ApartLogger.level_apart, ApartLogger.handler_apart = level, handler
    _become(ApartLogger)


def set_all_apart() -> None:
    """Likewise for those that were made since, by modules that are imported when they are needed."""
    if ApartLogger.handler_apart is not None:
        _become(ApartLogger)


def join_again() -> logging.Handler | None:
    """Have them be ordinary loggers again, as in a program; returns their handler. Only tests need that."""
    handler, ApartLogger.handler_apart = ApartLogger.handler_apart, None
    _become(logging.Logger)
    return handler


def _become(kind: type[logging.Logger]) -> None:
    loggers = [logging.getLogger(ROOT)]
    loggers += [
        each
        for name, each in list(logging.Logger.manager.loggerDict.items())
        if name.startswith(f"{ROOT}.") and isinstance(each, logging.Logger)
    ]
    for each in loggers:
        each.__class__ = kind  # their modules hold them already


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes lines to what stderr is now; a line that can't be written is dropped."""

    def __init__(self, encoding: str | None = None) -> None:
        super().__init__(own_stderr(encoding))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: it would be written where nothing can be written."""


class _Copy(io.FileIO):
    """A descriptor for what stderr is. A forked child has none, for it may close its stderr."""

    def detach(self) -> int:
        """As of a socket: -1 where it is closed."""
        if self.closed:
            return -1
        descriptor = self.fileno()
        super().__init__(STDERR, "w", closefd=False)
        return descriptor


def own_stderr(encoding: str | None = None) -> TextIO:
    """A stream to what stderr is now, with a descriptor of its own where it has one."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # it is none of the system's
        return sys.stderr
    copy = _Copy(descriptor, "w")
    close_in_children(copy)
    return io.TextIOWrapper(
        copy,  # each line is written at once, so it needs no buffer
        encoding=encoding or sys.stderr.encoding,
        errors="backslashreplace",
        write_through=True,
    )


def stream_of(handler: logging.Handler | None) -> TextIO:
    """Where a handler writes to; stderr without one."""
    console = getattr(handler, "console", None)
    stream: TextIO | None = getattr(handler, "stream", None) or getattr(console, "file", None)
    return stream or sys.stderr


def close_stream(handler: logging.Handler | None) -> None:
    """Close the descriptor of a handler that is used no more. Only tests need that."""
    stream = stream_of(handler)
    if isinstance(stream, io.TextIOWrapper) and stream is not sys.stderr:
        with suppress(OSError):
            stream.close()
