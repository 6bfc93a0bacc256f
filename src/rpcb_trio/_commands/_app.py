"""The commands under one name, and the one way in and out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module, metadata
from typing import TYPE_CHECKING, NoReturn

from cyclopts import App, CycloptsError, UnusedCliTokensError

from rpcb_trio._commands._api_key import api_key
from rpcb_trio._commands._demo import demo
from rpcb_trio._commands._ending import end_with
from rpcb_trio._commands._exits import ExitCode, exit_code_of
from rpcb_trio._commands._help import ALL, epilogue
from rpcb_trio._commands._logs import report_more
from rpcb_trio._commands._reference import exit_codes, settings
from rpcb_trio._commands._settings._sources import Origin, Parsed, Sources, unknown_variables
from rpcb_trio._commands.serve._command import serve
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from cyclopts.help.protocols import HelpFormatter

NAME = "rpcb-trio"

IMPORTED_WHEN_ASKED_FOR = {
    "call": "call hello --queue shout",
    "doctor": "doctor shout:shout --queue shout",
    "gateway": "gateway --config rpcb.toml",
    "health": "health --health-port 8080",
    "load": "load hello --queue shout --rate 50 --seconds 30s",
    "reload": "reload --url http://localhost:8080 --token-file token",
    "simulate": "simulate audit.jsonl --max-batch-size 64",
    "top": "top --events rpcb.events",
    "try": "try shout:shout --text hello",
    "tune": "tune shout:shout --body one.wav two.wav --rate 50",
}
"""Commands in packages of their names, each with an example; a worker does not hold them in memory."""

NO_PYTHON_NAMES = {"try": "trial"}
"""Commands whose packages have other names, and their functions an underscore at the end."""

WITHOUT_A_LOG = ("call", "load", "reload", "simulate", "top", "try_", "tune")
"""Commands that say on stderr which variables are no settings, as the others do in a log or a table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; what goes wrong is one line on stderr."""
    return exit_code_of(partial(_run, list(sys.argv[1:] if argv is None else argv)))


def run() -> NoReturn:
    """Run the command that the process was started with, and end it."""
    end_with(main)


def _run(argv: list[str]) -> int:
    command, bound = parse(argv)
    if command.__name__ in WITHOUT_A_LOG:
        for line in unknown_variables():
            report_more(line)
    return command(*bound.args, **bound.kwargs) or ExitCode.DONE


def parse(argv: Sequence[str]) -> Parsed:
    """Read a command line into a command and its arguments, with what variables and the file say.

    Raises:
        SettingError: something is wrong, or unknown.
    """
    return _parse(Origin.here(argv))


def _parse(origin: Origin) -> Parsed:
    argv, sources = origin.argv, Sources(origin, _parse)
    given = ["--help" if each == ALL else each for each in argv]
    try:
        app = command_line(sources, argv)
        command, bound, injected = app.parse_args(given, print_error=False, exit_on_error=False)
    except UnusedCliTokensError as error:
        extra = " ".join(error.unused_tokens or ())
        raise SettingError(f"nothing takes {extra!r}. See {_named(argv)} --help.") from error
    except CycloptsError as error:
        raise SettingError(f"{error} See {_named(argv)} --help.") from error
    sources.complete(command, bound)
    if "sources" in injected:
        bound.arguments["sources"] = sources
    return command, bound


def _formatter(argv: Sequence[str]) -> HelpFormatter:
    """Prints help; most processes print none, and a worker need not hold in memory how it is drawn."""
    from rpcb_trio._commands._help_formatter import Formatter  # noqa: PLC0415 - as it says

    return Formatter(shows_all=ALL in argv, of_gateway="gateway" in argv[:1])


def _named(argv: Sequence[str]) -> str:
    """The command whose help tells more."""
    commands = {*IMPORTED_WHEN_ASKED_FOR, "serve", "demo"}
    return f"{NAME} {argv[0]}" if argv and argv[0] in commands else NAME


def command_line(sources: Sources, argv: Sequence[str] = ()) -> App:
    """The command line, for one reading of `argv`."""
    lists_commands = not argv or argv[0].startswith("-")  # then --help shows what each command does
    app = App(
        name=NAME,
        help="Dynamic-batching RPC worker for RabbitMQ: computes requests in batches, answers each caller.",
        help_epilogue="A command's settings: rpcb-trio COMMAND --help. All of them: rpcb-trio settings.",
        help_format="markdown",
        version=partial(metadata.version, NAME),
        config=(sources,),
    )
    if lists_commands or not {ALL, *app.help_flags}.isdisjoint(argv):
        app.help_formatter = _formatter(argv)
    app.command(serve, help_epilogue=epilogue("serve shout:shout --queue shout"))
    for name, example in IMPORTED_WHEN_ASKED_FOR.items():
        module = f"rpcb_trio._commands.{NO_PYTHON_NAMES.get(name, name)}._command"
        function = f"{name}_" if name in NO_PYTHON_NAMES else name
        command = getattr(import_module(module), function) if lists_commands else f"{module}:{function}"
        app.command(command, name=name, help_epilogue=epilogue(example))
    for each in (api_key, demo, settings, exit_codes):
        app.command(each)
    app.register_install_completion_command(
        "install-completion", help="Install completion of commands and flags for bash, zsh or fish."
    )
    return app
