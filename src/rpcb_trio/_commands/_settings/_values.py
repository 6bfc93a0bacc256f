"""How values are written: numbers in plain digits, times as 100ms, sizes as 96MiB, pairs as NAME=VALUE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rpcb_trio.errors import SettingError

WHOLE = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
WITH_UNIT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)) ?([A-Za-z]+)")
NO_NUMBERS = frozenset({"inf", "nan"})
"""Words that `float` takes as well; a setting's bounds say whether it does."""


@dataclass(frozen=True)
class Unit:
    """A quantity that may be written with a unit, or as a plain number of the base unit."""

    metavar: str
    forms: str
    """How to write it, for the end of an error line."""
    factors: Mapping[str, str]
    """Each unit in the base unit."""
    base: str
    small: str
    """The unit for showing what is less than 1 of the base unit."""
    large: Sequence[str]
    """Larger units, the largest first, for showing a value that is a multiple of one."""

    def read(self, text: str) -> float:
        """The value in the base unit.

        Raises:
            ValueError: it has another form; the message says which forms there are.
        """
        found = WITH_UNIT.fullmatch(text)
        if found is None and (text in NO_NUMBERS or NUMBER.fullmatch(text)):
            return float(text)
        factor = None if found is None else self.factors.get(found[2].lower())
        if found is None or factor is None:
            raise ValueError(f'"{text}" is not {self.forms}.')
        return float(Decimal(found[1]) * Decimal(factor))

    def show(self, value: float) -> str:
        """The value as a person would write it."""
        exact = Decimal(str(value))
        if not exact or not exact.is_finite():
            return f"{value:g}"
        unit = self.base if exact >= 1 else self.small
        unit = next((each for each in self.large if exact % self._factor(each) == 0), unit)
        return f"{(exact / self._factor(unit)).normalize():f}{unit}"

    def _factor(self, unit: str) -> Decimal:
        return Decimal(self.factors[unit.lower()])


SECONDS = Unit(
    metavar="TIME",
    forms="a time; write it as 100ms, 30s or 5m, or in plain seconds, as 0.1",
    factors={
        "us": "0.000001",
        "ms": "0.001",
        "s": "1",
        "sec": "1",
        "seconds": "1",
        "m": "60",
        "min": "60",
        "h": "3600",
        "d": "86400",
    },
    base="s",
    small="ms",
    large=("h", "m"),
)
BYTES = Unit(
    metavar="SIZE",
    forms="a size; write it as 96MiB, 10MB or 512KiB, or in plain bytes, as 1000000",
    factors={
        "b": "1",
        "kb": "1e3",
        "mb": "1e6",
        "gb": "1e9",
        "tb": "1e12",
        "kib": "1024",
        "mib": "1048576",
        "gib": "1073741824",
        "tib": "1099511627776",
    },
    base="B",
    small="B",
    large=("GiB", "MiB", "KiB"),
)


def read_number(text: str) -> float:
    """A number in plain digits.

    Raises:
        ValueError: it is none.
    """
    if text not in NO_NUMBERS and not NUMBER.fullmatch(text):
        raise ValueError(f'"{text}" is not a number.')
    return float(text)


def read_whole(text: str, unit: Unit | None = None) -> int:
    """A whole number in plain digits, or one with a unit that is a whole number of the base unit.

    Raises:
        ValueError: it is none.
    """
    if WHOLE.fullmatch(text):
        return int(text)
    value = None if unit is None else unit.read(text)
    if value is None or not value.is_integer():
        raise ValueError(f'"{text}" is not a whole number.')
    return int(value)


def split_pair(option: str, text: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Split `NAME=VALUE`.

    Raises:
        SettingError: there is no name or no `=`.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise SettingError(f"{option} {text}: write it as {form}")
    return name, value


def split_pairs(option: str, texts: Sequence[str], form: str) -> dict[str, str]:
    """Split pairs, each with a name of its own.

    Raises:
        SettingError: one is no pair, or two have one name.
    """
    pairs: dict[str, str] = {}
    for name, value in (split_pair(option, each, form) for each in texts):
        if name in pairs:
            raise SettingError(f"{option} {name}={value}: {name} is {pairs[name]} already; give another name")
        pairs[name] = value
    return pairs


def as_they_look(option: str, pairs: Sequence[str]) -> dict[str, object]:
    """Read `NAME=VALUE` pairs: true and false, whole and other numbers are what they look like, else text.

    Raises:
        SettingError: one is no such pair.
    """
    return {name: _as_it_looks(value) for name, value in (split_pair(option, each) for each in pairs)}


def _as_it_looks(value: str) -> object:
    if value in ("true", "false"):
        return value == "true"
    if WHOLE.fullmatch(value):
        return int(value)
    return float(value) if NUMBER.fullmatch(value) else value
