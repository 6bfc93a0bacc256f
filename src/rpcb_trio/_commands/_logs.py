"""The log, on stderr: text for people, or JSON for machines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from rpcb_trio._commands._apart import ApartLogger, StderrHandler, own_stderr, set_apart, stream_of
from rpcb_trio._commands._flood import FloodFilter
from rpcb_trio._commands._settings._shared import LogSettings
from rpcb_trio._shown import on_one_line, shortened, without_passwords
from rpcb_trio._tracing import spans

log = logging.getLogger("rpcb_trio")

OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes of a record that are not of its `extra`."""

LONGEST_FIELD = 2000
"""Characters of a field's text."""

LARGEST_INTEGER = 2**53
"""That every reader of JSON reads as it is."""

REPEATED = ("aiormq", "pamqp")
"""Libraries whose errors the transport logs in its own words; theirs matter at debug only."""

CHATTY = ("asyncio", "trio-asyncio")
"""Libraries of which only warnings and errors are written."""


class PlainFormatter(logging.Formatter):
    """The message alone, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """A wrong setting is quoted as it is, so a URL in it may have a password."""
        return without_passwords(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - it is logging's name
        """The message in one line: no text from outside can pass for a further line of the log."""
        return on_one_line(super().formatMessage(record))


class TextFormatter(PlainFormatter):
    """`time level message`, the time in UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's name
        """ISO 8601, in UTC, to the millisecond."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(TextFormatter):
    """One JSON object a line: time, level, logger, message, what is `extra`, the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(without_passwords(record.getMessage())),
        }
        if record.exc_info:
            line["traceback"] = _encodable(without_passwords(self.formatException(record.exc_info)))
        return msgspec.json.encode(line | _of_current_span(record) | _fields_of(record, line)).decode()


def _of_current_span(record: logging.LogRecord) -> dict[str, str]:
    """Its ids, for a record without a trace of its own: it is formatted where it was logged."""
    opentelemetry = None if getattr(record, "trace_id", None) else spans()
    return {} if opentelemetry is None else opentelemetry.current_ids()


def _fields_of(record: logging.LogRecord, line: Mapping[str, object]) -> dict[str, object]:
    """What the record was given as `extra`: its texts, numbers and booleans that the line has not already."""
    fields = dict[str, object]()
    for name, value in vars(record).items():
        if name in OF_EVERY_RECORD or name in line or not isinstance(value, str | int | float):
            continue
        if isinstance(value, str):
            fields[_encodable(name)] = _encodable(shortened(without_passwords(value), LONGEST_FIELD))
        elif isinstance(value, float) or -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            fields[_encodable(name)] = value
    return fields


def _encodable(text: str) -> str:
    """With what UTF-8 can't carry spelt out: half of a surrogate pair, as a strange name may have it."""
    return text.encode(errors="backslashreplace").decode()


def write_logs(settings: LogSettings) -> None:
    """Send the whole process's log to stderr: that of this package apart, and all else by the root logger."""
    handler = _handler(settings)
    handler.addFilter(FloodFilter())
    set_apart(logging.INFO, handler)
    set_log_level(settings.log_level)
    logging.getLogger().addHandler(handler)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def change_log_level(before: LogSettings, after: LogSettings) -> LogSettings:
    """Have the level that is set now; returns what is in force."""
    if before.log_level != after.log_level:
        set_log_level(after.log_level)
        log.info("log_level changed from %s to %s", before.log_level, after.log_level)
    return replace(before, log_level=after.log_level)


def set_log_level(level: str) -> None:
    """Write lines of this level and of those above it from now on."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    ApartLogger.level_apart = root.level
    for name in REPEATED:
        logging.getLogger(name).setLevel(logging.WARNING if level == "debug" else logging.CRITICAL)


def report(line: str) -> None:
    """Print one line that says why the command ends, in the form that the log has."""
    if _log_is_json():
        log.critical(line)
    else:
        _print(line)


def report_more(line: str) -> None:
    """Write one more line after that: to the log, if there is one."""
    if ApartLogger.handler_apart is not None:
        log.warning("%s", line)
    else:
        _print(line)


def _log_is_json() -> bool:
    handler = ApartLogger.handler_apart
    return handler is not None and isinstance(handler.formatter, JsonFormatter)


def _print(line: str) -> None:
    text = f"rpcb-trio: {without_passwords(on_one_line(' '.join(line.split())))}"
    with suppress(OSError, ValueError):
        print(text, file=stream_of(ApartLogger.handler_apart), flush=True)


def _terminal_handler(stderr: TextIO) -> logging.Handler:
    """Colours lines; where there is no terminal, a worker need not hold in memory how that is done."""
    from rich.console import Console  # noqa: PLC0415 - as it says
    from rich.highlighter import NullHighlighter  # noqa: PLC0415 - as it says
    from rich.logging import RichHandler  # noqa: PLC0415 - as it says

    return RichHandler(
        console=Console(file=stderr),
        show_path=False,
        omit_repeated_times=False,
        log_time_format="%X",
        highlighter=NullHighlighter(),
    )


def _handler(settings: LogSettings) -> logging.Handler:
    if settings.log_format == "text" and sys.stderr.isatty():
        on_terminal = _terminal_handler(own_stderr())
        on_terminal.setFormatter(PlainFormatter())
        return on_terminal
    is_json = settings.log_format == "json"
    handler = StderrHandler("utf-8" if is_json else None)
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter())
    return handler
