"""Settings and flags that have an effect with another one only: alone they would be ignored silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from rpcb_trio._commands._settings._parameters import declared_with_flags
from rpcb_trio.errors import SettingError


def check_partners(*tables: Any) -> None:
    """Refuse what is set without the other one that its declaration says it `needs`.

    Both are looked for in these tables, which are dataclasses: a command that has no such other one goes
    without it.

    Raises:
        SettingError: one is; the message names both.
    """
    values = {each.name: getattr(table, each.name) for table in tables for each in fields(table)}
    for table in tables:
        defaults = {each.name: each.default for each in fields(table)}
        for name, (_, _, reader) in declared_with_flags(type(table)).items():
            is_set = values[name] != defaults[name] and _is_there(values[name])
            if is_set and reader.needs and not any(_is_met(need, values) for need in reader.needs):
                raise SettingError(_complaint(name, reader.needs, is_setting=reader.is_setting))


def _is_there(value: object) -> bool:
    """Whether it asks for something, as a 0 may."""
    return value is not None and value is not False and value not in {"", ()}


def _is_met(need: str, values: Mapping[str, Any]) -> bool:
    name, _, wanted = need.partition(" = ")
    if name not in values:
        return True
    return values[name] == wanted if wanted else _is_there(values[name])


def _complaint(name: str, needs: tuple[str, ...], *, is_setting: bool) -> str:
    if not is_setting:
        name, *needed = (f"--{each.replace('_', '-').replace(' = ', ' ')}" for each in (name, *needs))
        return f"{name} has no effect without {_any_of(needed)}; add that, or leave {name} out"
    partner, _, wanted = needs[0].partition(" = ")
    if wanted:
        return f"{name} is for {needs[0]}; leave it out, or set {partner} to {wanted}"
    return f"{name} has no effect without {_any_of(needs)}; set that, too, or leave {name} out"


def _any_of(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
