"""The commands under one name, and the one way in and out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from inspect import BoundArguments
from typing import Any

from cyclopts import App, CycloptsError

from rpcb_trio._cli._call import call
from rpcb_trio._cli._demo import demo
from rpcb_trio._cli._doctor import doctor
from rpcb_trio._cli._exits import ExitCode, exit_code_of
from rpcb_trio._cli._file import FileLayer
from rpcb_trio._cli._gateway import gateway
from rpcb_trio._cli._health import health
from rpcb_trio._cli._load import load
from rpcb_trio._cli._serve import serve
from rpcb_trio._cli._settings import Settings
from rpcb_trio._cli._simulate import simulate
from rpcb_trio._cli._top import top
from rpcb_trio._cli._tune import tune
from rpcb_trio._errors import SettingError

NAME = "rpcb-trio"
PRECEDENCE = "A flag comes before its variable, that before the file, that before the default."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; what goes wrong is one line on stderr."""
    return exit_code_of(partial(_run, list(sys.argv[1:] if argv is None else argv)))


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
    return _app(layer).parse_args(argv, print_error=False, exit_on_error=False)


def settings_of(argv: list[str], worker: str) -> tuple[str | None, Settings]:
    """What `serve` is to serve as a worker of the file, and how."""
    _, bound, _ = parse(argv, FileLayer(worker))
    return bound.arguments.get("target"), bound.arguments.get("settings", Settings())


def _app(layer: FileLayer) -> App:
    app = App(
        name=NAME,
        help="Dynamic-batching RPC worker for RabbitMQ: packs requests into batches, answers each producer.",
        help_epilogue=_epilogue(),
        help_format="markdown",
        version=partial(metadata.version, NAME),
        config=(layer,),
    )
    app.command(serve)
    app.command(call)
    app.command(load)
    app.command(gateway)
    app.command(top)
    app.command(health)
    app.command(doctor)
    app.command(tune)
    app.command(simulate)
    app.command(demo, help_flags=())  # they are the demo's own
    return app


def _epilogue() -> str:
    codes = "\n".join(f"- **{code.value}** {code.meaning}" for code in ExitCode)
    return f"{PRECEDENCE}\n\nExit codes:\n\n{codes}"
