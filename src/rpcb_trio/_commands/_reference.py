"""The commands `settings` and `exit-codes`: tables in Markdown, for a terminal and for the documentation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Literal, cast, get_args, get_origin

from cyclopts import App, Argument, Group

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._settings._file import FileTable
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._parameters import Reader, declared, kind_of


def settings() -> None:
    """Print every setting with its default, as a table in Markdown."""
    lines = ["## Of a worker and its process", *_groups(FileTable)]
    _print([*lines, "", "## Of the gateway, in `[gateway]`", *_groups(GatewaySettings)])


def exit_codes() -> None:
    """Print every exit code with its meaning, as a table in Markdown."""
    _print(["| code | meaning |", "|---|---|", *(f"| {code.value} | {code.meaning} |" for code in ExitCode)])


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _groups(table: type) -> Iterator[str]:
    """The settings that a class declares, or inherits from one that is no table of its own."""
    inherited = set() if table is FileTable else {*declared(FileTable)} - {*table.__annotations__}
    of_group: dict[Group, list[str]] = {}
    for argument in App(default_command=table).assemble_argument_collection(parse_docstring=True):
        if argument.field_info.name not in inherited:
            [group] = cast("tuple[Group]", argument.parameter.group)
            of_group.setdefault(group, []).append(_row(argument))
    for group in sorted(of_group, key=lambda each: each.sort_key):
        yield from (
            "",
            f"### {group.name}",
            "",
            "| key | value | default | live | |",
            "|---|---|---|---|---|",
        )
        yield from of_group[group]


def _row(argument: Argument) -> str:
    kind, parameter, default = kind_of(argument.hint), argument.parameter, argument.field_info.default
    if get_origin(kind) is Literal:
        value = ", ".join(f"`{each}`" for each in get_args(kind))
    else:
        value = "yes or no" if kind is bool else parameter.metavar or "TEXT"
    shown = parameter.show_default
    if callable(shown):
        shown = shown(default)
    elif not isinstance(shown, str):
        shown = "" if default in {None, "", ()} else str(default).lower()
    help_text = " ".join((parameter.help or "").split())
    live = "yes" if cast("Reader", parameter.converter).is_live else ""
    return f"| `{argument.field_info.name}` | {value} | {shown} | {live} | {_escaped(help_text)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("[", "\\[")
