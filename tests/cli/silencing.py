"""What a module may do to logging. As a program: around each of these, write to the log."""

from __future__ import annotations

import logging
import logging.config
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rpcb_trio._commands._logs import report, write_logs
from rpcb_trio._commands._settings._shared import LogSettings

FORMS: tuple[Literal["text"], Literal["json"]] = ("text", "json")

log = logging.getLogger("rpcb_trio")
below = logging.getLogger("rpcb_trio._transports.below")

CONSOLE = {"version": 1, "handlers": {"c": {"class": "logging.StreamHandler"}}}
INI = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nhandlers=\nlevel=ERROR\n"


def a_filter(_: logging.LogRecord) -> bool:
    return False


def a_factory(*_: object, **__: object) -> logging.LogRecord:
    raise RuntimeError("no record for you")


def file_config() -> None:
    Path("logging.ini").write_text(INI)
    logging.config.fileConfig("logging.ini")


def replace_stderr() -> None:
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - it is only a test's


def mute_tree() -> None:
    for name in ("rpcb_trio", "rpcb_trio._transports.below"):
        each = logging.getLogger(name)
        each.disabled, each.propagate = True, False
        each.setLevel(logging.CRITICAL)
        each.addFilter(a_filter)
        each.handlers.clear()


def redirect_stderr() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


CONFIGURATIONS: dict[str, Callable[[], object]] = {
    "dictConfig": lambda: logging.config.dictConfig({"version": 1}),
    "dictConfig with a console at the root": lambda: logging.config.dictConfig(
        CONSOLE | {"root": {"handlers": ["c"], "level": "DEBUG"}}
    ),
    "dictConfig with a console for us": lambda: logging.config.dictConfig(
        CONSOLE | {"loggers": {"rpcb_trio": {"handlers": ["c"], "level": "DEBUG"}}}
    ),
    "dictConfig that silences us": lambda: logging.config.dictConfig(
        {"version": 1, "loggers": {"rpcb_trio": {"level": "CRITICAL", "propagate": False}}}
    ),
    "dictConfig, incremental": lambda: logging.config.dictConfig(
        {"version": 1, "incremental": True, "loggers": {"rpcb_trio": {"level": "CRITICAL"}}}
    ),
    "fileConfig": file_config,
    "basicConfig": lambda: logging.basicConfig(force=True, level=logging.DEBUG),
    "basicConfig for errors": lambda: logging.basicConfig(force=True, level=logging.ERROR),
    "a handler at the root": lambda: logging.getLogger().addHandler(logging.StreamHandler()),
    "a handler at ours": lambda: log.addHandler(logging.StreamHandler()),
    "no handler at the root": logging.getLogger().handlers.clear,
    "disable": lambda: logging.disable(logging.CRITICAL),
    "level of the root": lambda: logging.getLogger().setLevel(logging.CRITICAL),
    "all of our tree": mute_tree,
    "shutdown": logging.shutdown,
    "captureWarnings": lambda: logging.captureWarnings(capture=True),
    "a record factory that fails": lambda: logging.setLogRecordFactory(a_factory),
    "another stderr": replace_stderr,
    "stderr sent elsewhere": redirect_stderr,
    "stderr closed": sys.stderr.close,
}


def tell_all(label: str) -> None:
    """A line of each level, by the package's logger and by one below it."""
    log.debug("%s debug", label)
    log.info("%s info", label)
    log.warning("%s warning", label)
    below.error("%s error", label)
    log.error("%s exception", label, exc_info=ValueError("oops"))


def tell_around(name: str, form: Literal["text", "json"]) -> None:
    """Tell all before and after a configuration."""
    write_logs(LogSettings(log_format=form))
    tell_all("before")
    CONFIGURATIONS[name]()
    tell_all("after")
    report("the reason of its end")


def main() -> None:
    """Do each, in each form, in a process of its own whose stderr is the file `NAME-FORM` in this folder.

    They are forked, because a process spends most of its time on imports, and on what Python does at its end:
    here that is what `logging` does then, and no more.
    """
    for name in CONFIGURATIONS:
        for form in FORMS:
            if not os.fork():
                os.dup2(os.open(f"{name}-{form}", os.O_CREAT | os.O_WRONLY), 2)
                try:
                    tell_around(name, form)
                    logging.shutdown()
                except BaseException:  # noqa: BLE001 - it belongs into the file, behind all else
                    traceback.print_exc()
                finally:
                    os._exit(0)
            os.wait()


if __name__ == "__main__":
    main()
