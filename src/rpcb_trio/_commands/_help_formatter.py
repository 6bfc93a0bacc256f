"""`--help` fits a screen: it shows the common settings; `--help-all` shows all."""

from __future__ import annotations

from cyclopts.help import HelpPanel
from cyclopts.help.formatters import DefaultFormatter
from cyclopts.help.specs import TableSpec, get_default_command_columns, get_default_parameter_columns
from rich.console import Console, ConsoleOptions
from rich.text import Text

from rpcb_trio._commands._settings._file import FileTable
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._parameters import RARE, declared

OTHERS = frozenset(
    f"--{name.replace('_', '-')}"
    for table in (FileTable, GatewaySettings)
    for name, (_, _, reader) in declared(table).items()
    if not reader.is_common
)
"""Flags of settings that are not common."""

LIVE = {
    table: frozenset(
        f"--{name.replace('_', '-')}" for name, (_, _, reader) in declared(table).items() if reader.is_live
    )
    for table in (FileTable, GatewaySettings)
}
"""Flags of settings that a reload changes, of a worker and its process, and of the gateway."""


class Formatter(DefaultFormatter):
    """Prints each group under its name, with the common settings of it or with all."""

    def __init__(self, *, shows_all: bool, of_gateway: bool = False) -> None:
        super().__init__()
        self._live = {*LIVE[GatewaySettings], "--log-level"} if of_gateway else LIVE[FileTable]
        self._shows_all = shows_all

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group."""
        entries = panel.entries
        if not self._shows_all:
            entries = [each for each in entries if OTHERS.isdisjoint(each.positive_names)]
        if entries and (self._shows_all or panel.title != RARE.name):
            for entry in entries if self._shows_all else ():
                if not self._live.isdisjoint(entry.positive_names):
                    entry.description.append(Text("[live]", style="dim"))
            is_command = panel.format == "command"
            columns = get_default_command_columns if is_command else get_default_parameter_columns
            console.print(Text(f"{panel.title}:", style="bold"))
            console.print(TableSpec().build(columns(console, options, entries), entries))
