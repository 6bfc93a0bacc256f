"""How a setting is declared: once, as a field of a dataclass that has `setting` in its annotation.

The field's name is its key in `rpcb.toml` (`max_wait`); its flag (`--max-wait`) and its variable
(`RPCB_MAX_WAIT`) follow from that. The field's type and default hold everywhere. The docstring below the
field is its help, and `setting` adds the unit and the bounds. The same `Reader` reads and checks a value of a
flag, of a variable and of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from cyclopts import CoercionError, Group, Parameter, Token, convert

from rpcb_trio._bounds import ANY, Bounds
from rpcb_trio._commands._settings._values import Unit, read_number, read_whole
from rpcb_trio._shown import without_passwords

SERVICE = Group("Service", sort_key=0)
FILE = Group("File", sort_key=1)
BROKER = Group("Broker", sort_key=2)
TOPOLOGY = Group("Topology", sort_key=3)
BATCHING = Group("Batching", sort_key=4)
REPLIES = Group("Requests and replies", sort_key=5)
EXECUTORS = Group("Executors", sort_key=6)
WORKER = Group("Worker", sort_key=7)
LOGGING = Group("Logging", sort_key=8)
RARE = Group("Rarely needed", sort_key=10)
"""Flags that only `--help-all` shows."""

PREFIX = "RPCB_"

NAMED = frozenset({"FILE", "DIRECTORY", "EXCHANGE", "PLACE", "ADDRESS"})
"""Metavars of values that can't be empty."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads and checks the values of one setting or flag. cyclopts calls it as the parameter's converter."""

    unit: Unit | None = None
    bounds: Bounds = ANY
    may_be_empty: bool = True
    is_setting: bool = True
    """Whether it may come from a variable or the file, too, or from a flag alone."""
    is_common: bool = False
    """Whether `--help` shows it, or only `--help-all`."""
    is_live: bool = False
    """Whether a process that runs can change it; the others need a restart."""
    is_secret: bool = False
    """Whether its value is never shown."""
    needs: tuple[str, ...] = ()
    """The others with any of which alone it has an effect, each as `NAME` or `NAME = VALUE`."""

    def __call__(self, hint: Any, tokens: Sequence[Token]) -> Any:
        """Read what was written on the command line or in a variable."""
        kind = kind_of(hint)
        if get_origin(kind) is tuple:
            return tuple(self._of_token(get_args(kind)[0], each) for each in tokens)
        return self._of_token(kind, tokens[0])

    def _of_token(self, kind: Any, token: Token) -> Any:
        try:
            return self._of_text(kind, token)
        except ValueError as error:
            raise CoercionError(msg=str(error), token=token) from None

    def of_toml(self, hint: Any, value: object) -> Any:
        """Read what the file says.

        Raises:
            ValueError: it is wrong; the message says why.
        """
        kind = kind_of(hint)
        if self.unit is not None and isinstance(value, str):
            return self._of_text(kind, Token(value=value))
        found = msgspec.convert(value, kind)
        self._check(found, f"{value}")
        return found

    def show(self, value: object) -> str:
        """The value as a person would write it; of a secret only that it is set."""
        if value is None or value == ():
            return "not set"
        if self.is_secret:
            return "***"
        if isinstance(value, tuple):
            return ", ".join(map(self.show, value))
        if isinstance(value, bool):
            return str(value).lower()
        if self.unit is not None and isinstance(value, int | float):
            return self.unit.show(value)
        return without_passwords(f"{value:g}" if isinstance(value, float) else str(value))

    def _of_text(self, kind: Any, token: Token) -> Any:
        text = token.value
        found: float | None = None
        if kind is not Path and not _is_text(text):
            raise ValueError("it is not UTF-8.")
        if kind is int:
            found = read_whole(text, self.unit)
        elif kind is float:
            found = read_number(text) if self.unit is None else self.unit.read(text)
        self._check(text if found is None else found, text)
        return convert(kind, [token]) if found is None else found

    def _check(self, value: object, written: str) -> None:
        if isinstance(value, str) and not value.strip() and not self.may_be_empty:
            raise ValueError("it is empty; leave it out, or say which.")
        if isinstance(value, int | float):
            fault = (
                self.bounds.fault(value) if self.unit is None else self.bounds.fault(value, self.unit.show)
            )
            if fault is not None:
                raise ValueError(f"{written}: {fault}.")


def setting(
    group: Group,
    metavar: str | None = None,
    *,
    unit: Unit | None = None,
    bounds: Bounds = ANY,
    shown: str | bool | None = None,
    common: bool = False,
    live: bool = False,
    secret: bool = False,
    is_setting: bool = True,
    needs: str | tuple[str, ...] = (),
    **more: Any,
) -> Parameter:
    """Declare a setting; the docstring below its field is its help.

    Args:
        group: where the help shows it.
        metavar: what its value is called in the help; a unit has its own.
        unit: lets it be written with a unit, and shows its default with one.
        bounds: what a number may be.
        shown: what the help says of its default, in words, or False for nothing.
        common: whether `--help` shows it, or only `--help-all`.
        live: whether a reload changes it; the others need a restart.
        secret: whether its value is never shown.
        is_setting: whether it has a variable and a key in the file as well.
        needs: another one without which it has no effect, as `NAME` or `NAME = VALUE`; of several, any.
        more: as `cyclopts.Parameter` takes it.
    """
    metavar = metavar or (unit.metavar if unit else None)
    reader = Reader(
        unit=unit,
        bounds=bounds,
        may_be_empty=metavar not in NAMED,
        is_setting=is_setting,
        is_common=common or not is_setting,
        is_live=live,
        is_secret=secret,
        needs=(needs,) if isinstance(needs, str) else needs,
    )
    show_default = unit.show if shown is None and unit else shown
    return Parameter(group=group, metavar=metavar, converter=reader, show_default=show_default, **more)


def several(group: Group, metavar: str, **more: Any) -> Parameter:
    """As `setting`, for a flag that may be repeated; its variable is separated by commas."""
    return setting(group, metavar, shown=False, negative="", **more)


def flag(group: Group, text: str | None = None, metavar: str | None = None, **more: Any) -> Parameter:
    """As `setting`, for what only the command line says."""
    if text is not None:  # else the docstring below its field is its help
        more["help"] = text
    return setting(group, metavar, negative="", is_setting=False, **more)


def kind_of(hint: Any) -> Any:
    """A type without None, if it is an optional one."""
    if get_origin(hint) in (Union, UnionType):
        [hint] = [each for each in get_args(hint) if each is not NoneType]
    return hint


def declared(table: type) -> Mapping[str, tuple[Any, Parameter, Reader]]:
    """The settings of a dataclass by their names: type, parameter and reader."""
    return {name: each for name, each in declared_with_flags(table).items() if each[-1].is_setting}


def declared_with_flags(table: type) -> Mapping[str, tuple[Any, Parameter, Reader]]:
    """As `declared`, with what only flags say."""
    found = {}
    for name, hint in get_type_hints(table, include_extras=True).items():
        kind, *metadata = get_args(hint) or (hint,)
        for each in metadata:
            if isinstance(each, Parameter) and isinstance(each.converter, Reader):
                found[name] = (kind, each, each.converter)
    return found


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes that were no text when the process was given them
        return False
    return True
