"""The commands under one name, and the one way in and out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module, metadata
from inspect import BoundArguments
from typing import Any, NoReturn

from cyclopts import App, CycloptsError

from rpcb_trio._commands._demo import demo
from rpcb_trio._commands._ending import end_with
from rpcb_trio._commands._exits import ExitCode, exit_code_of
from rpcb_trio._commands._settings._file import FileLayer
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._values import check_values
from rpcb_trio._commands._settings._variables import read_variables
from rpcb_trio._commands.serve._command import serve
from rpcb_trio._errors import SettingError

NAME = "rpcb-trio"
IMPORTED_WHEN_ASKED_FOR = ("call", "load", "gateway", "top", "health", "doctor", "tune", "simulate")
"""Commands in modules of their names; a worker does not hold them in memory."""
PRECEDENCE = "A flag comes before its variable, that before the file, that before the default."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; what goes wrong is one line on stderr."""
    return exit_code_of(partial(_run, list(sys.argv[1:] if argv is None else argv)))


def run() -> NoReturn:
    """Run the command that the process was started with, and end it."""
    end_with(main)


def _run(argv: list[str]) -> int:
    try:
        command, bound, injected = parse(argv, FileLayer())
        if "settings_of" in injected:
            bound.arguments["settings_of"] = partial(settings_of, argv)
        return command(*bound.args, **bound.kwargs) or ExitCode.DONE
    except CycloptsError as error:
        raise SettingError(f"{error} See {NAME} --help.") from error


def parse(argv: list[str], layer: FileLayer) -> tuple[Callable[..., Any], BoundArguments, dict[str, Any]]:
    """Read a command line into a command, its arguments, and which of them are still to be given."""
    lists_all = not argv or argv[0].startswith("-")  # then --help shows what each command does
    return _app(layer, lists_all=lists_all).parse_args(argv, print_error=False, exit_on_error=False)


def settings_of(argv: list[str], worker: str) -> tuple[str | None, Settings]:
    """What `serve` is to serve as a worker of the file, and how."""
    _, bound, _ = parse(argv, FileLayer(worker))
    return bound.arguments.get("target"), bound.arguments.get("settings", Settings())


def _app(layer: FileLayer, *, lists_all: bool) -> App:
    app = App(
        name=NAME,
        help="Dynamic-batching RPC worker for RabbitMQ: packs requests into batches, answers each producer.",
        help_epilogue=_epilogue(),
        help_format="markdown",
        version=partial(metadata.version, NAME),
        config=(read_variables, check_values, layer, check_values),
    )
    app.command(serve)
    for name in IMPORTED_WHEN_ASKED_FOR:
        module = f"rpcb_trio._commands.{name}._command"
        app.command(getattr(import_module(module), name) if lists_all else f"{module}:{name}", name=name)
    app.command(demo)
    return app


def _epilogue() -> str:
    codes = "\n".join(f"- **{code.value}** {code.meaning}" for code in ExitCode)
    return f"{PRECEDENCE}\n\nExit codes:\n\n{codes}"
