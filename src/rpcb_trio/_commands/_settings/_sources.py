"""Where settings come from, and how they are merged: a flag, its variable, the file, the default.

Each source is read once, and the file again by each reload. What may be left around the value of a variable
is not part of it: quotes and line ends of an env file, a byte-order mark, spaces. An empty variable is an
unset one.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from inspect import BoundArguments, signature
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar, get_origin
from urllib.parse import urlsplit

from cyclopts import App, Argument, ArgumentCollection, Token

from rpcb_trio._commands._settings._file import FileTable, SettingsFile, Table, read_file
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._parameters import PREFIX, Reader, declared, kind_of
from rpcb_trio._commands._settings._text import bare
from rpcb_trio._shown import did_you_mean, shown
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")

SettingsT = TypeVar("SettingsT")

PASSWORD = "RPCB_PASSWORD"  # noqa: S105 - a name
"""Spaces and quotes may belong to its value."""

PAIRS = ("option", "queue_argument", "weight")
"""Lists of NAME=VALUE: a pair of a flag or a variable replaces the file's pair of that name, and no other."""

MOST_SHOWN = 10
"""Unknown variables that are logged one by one."""

KNOWN = frozenset(
    f"{PREFIX}{name.upper()}" for table in (FileTable, GatewaySettings) for name in declared(table)
) | {f"{PREFIX}CONFIG"}

LINK = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$|_ENV_\w+$|_NAME$"
)
"""How the names end that Kubernetes makes of a Service, and Docker of a link."""


@dataclass(frozen=True)
class Origin:
    """What a command was started with. A service may change the directory, and the variables."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    directory: Path

    @classmethod
    def here(cls, argv: Sequence[str] = ()) -> Self:
        """As they are now."""
        try:
            directory = Path.cwd()
        except OSError:  # it was deleted
            directory = Path()
        return cls(tuple(argv), dict(os.environ), directory)


Parsed: TypeAlias = tuple[Callable[..., Any], BoundArguments]
"""A command, and its arguments."""


class Sources:
    """The sources of one command's settings. cyclopts calls it when it has read the flags.

    Args:
        origin: what the command was started with.
        parse: reads all of them, once more.
    """

    def __init__(self, origin: Origin | None = None, parse: Callable[[Origin], Parsed] | None = None) -> None:
        self.origin = Origin.here() if origin is None else origin
        self._parse = parse
        self.file = SettingsFile(is_there=False)
        self._command = ""
        self._given: frozenset[str] = frozenset()
        self._before_file: dict[type, Any] = {}
        self.given: BoundArguments
        """All arguments of the command, once they are complete."""

    def __call__(self, _app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Add what variables say where no flag does, and read the file."""
        settings = [each for each in arguments if _is_setting(each)]
        for argument in settings:
            if not argument.tokens:
                argument.tokens.extend(_tokens_of_variable(argument, self.origin.variables))
        self._command = "".join(commands[:1])
        self._given = frozenset(each.field_info.name for each in settings if each.tokens)
        config = arguments.get("--config", None)
        if config is not None:
            named = config.convert_and_validate() if config.tokens else None
            self.file = read_file(named, self.origin.directory)

    def again(self) -> BoundArguments:
        """The command's arguments, as they would be if it were started now as it was.

        Raises:
            SettingError: something in them is wrong.
        """
        assert self._parse is not None  # noqa: S101 - only tests make sources of their own
        _, given = self._parse(self.origin)
        sources = given.arguments["sources"]
        if self.file.is_there and not sources.file.is_there:  # an editor may be replacing it
            raise SettingError(f"{self.file.name}: it is gone; put it back, or restart without it")
        return given

    def complete(self, command: Callable[..., Any], bound: BoundArguments) -> None:
        """Fill in from the file what neither a flag nor a variable says."""
        self.given = bound
        for name, parameter in signature(command).parameters.items():
            if is_dataclass(parameter.default):
                settings = bound.arguments.get(name, parameter.default)
                self._before_file[type(settings)] = settings
                bound.arguments[name] = self._filled(settings, self._table(None))
            elif name == "target" and bound.arguments.get(name) is None and not self.file.workers:
                bound.arguments[name] = self.file.top.get("target")

    def of_worker(self, kind: type[SettingsT], worker: str) -> tuple[str | None, SettingsT]:
        """The target and the settings of a worker of the file."""
        table = self._table(worker)
        return table.get("target"), self._filled(self._before_file[kind], table)

    def _table(self, worker: str | None) -> Table:
        """What the file says to this command, or of a worker; the table's own keys come first."""
        own = self.file.gateway if self._command == "gateway" else {}
        own = own if worker is None else self.file.workers[worker]
        return {**self.file.top, **own}

    def _filled(self, settings: SettingsT, table: Table) -> SettingsT:
        found = {}
        for name in declared(type(settings)).keys() & table.keys():
            if name not in self._given:
                found[name] = table[name]
            elif name in PAIRS:
                found[name] = _joined(getattr(settings, name), table[name])
        return replace(settings, **found)  # type: ignore[type-var] # a dataclass


def _joined(pairs: Sequence[str], of_file: Sequence[str]) -> tuple[str, ...]:
    names = {pair.partition("=")[0] for pair in pairs}
    return (*pairs, *(pair for pair in of_file if pair.partition("=")[0] not in names))


def _is_setting(argument: Argument) -> bool:
    reader = argument.parameter.converter
    return isinstance(reader, Reader) and reader.is_setting


def _tokens_of_variable(argument: Argument, variables: Mapping[str, str]) -> Iterator[Token]:
    name = f"{PREFIX}{argument.field_info.name.upper()}"
    text = variables.get(name, "")
    value = bare(text)
    if value and name == PASSWORD:
        value = text.strip("\r\n")
    if not value or _is_link(name, value):
        return
    if get_origin(kind_of(argument.hint)) is not tuple:
        yield Token(keyword=name, value=value, source="env")
        return
    for index, part in enumerate(filter(None, map(bare, value.split(",")))):
        yield Token(keyword=name, value=part, source="env", index=index)


def _is_link(name: str, value: str) -> bool:
    """Whether it says where a Service is, as `tcp://10.96.0.7:5672` in `RPCB_PORT`."""
    if not name.endswith("_PORT"):
        return False
    try:
        parts = urlsplit(value)
        ip_address(parts.hostname or "")
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("tcp", "udp", "sctp") and port is not None


def unknown_variables() -> list[str]:
    """A line for each variable that looks like a setting and is none."""
    found = [name for name in sorted(os.environ) if _looks_like_ours(name) and name not in KNOWN]
    lines = [
        f"{shown(name, 100)} is set, but there is no such setting"
        f"{did_you_mean(_as_ours(name), KNOWN) or '; rpcb-trio serve --help-all lists them all'}"
        for name in found
    ]
    more = len(lines) - MOST_SHOWN
    return (
        lines
        if more <= 0
        else [*lines[:MOST_SHOWN], f"so are {more} more variables that begin with {PREFIX}"]
    )


def warn_of_unknown_variables() -> None:
    """Write these lines to the log."""
    for line in unknown_variables():
        log.warning("%s", line)


def _looks_like_ours(name: str) -> bool:
    ours = _as_ours(name)
    return ours.startswith(PREFIX) and not ours.startswith(f"{PREFIX}TEST_") and not LINK.search(ours)


def _as_ours(name: str) -> str:
    return bare(name).upper().replace("-", "_")
