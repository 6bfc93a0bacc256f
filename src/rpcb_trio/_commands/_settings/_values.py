"""What cyclopts would take without a word, and nobody means: numbers of other scripts, empty names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from cyclopts import App, Argument, ArgumentCollection, CoercionError, Token

WHOLE = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NO_NUMBERS = frozenset({"inf", "nan"})
"""What a setting's own bounds take or refuse."""
WITH_UNIT = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) ?([a-z]+)")
UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}

NAMED = frozenset({"FILE", "DIRECTORY", "EXCHANGE", "PLACE", "ADDRESS"})
"""Metavars of values that can't be empty."""


def check_values(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Look at all values before they are converted. Called by cyclopts after the file is read.

    Raises:
        CoercionError: one is wrong; it says which and why.
    """
    for argument in arguments:
        types = set(_leaves(argument.hint))
        for token in argument.tokens:
            reason = _fault(argument, types, token.value)
            if reason is not None:
                raise CoercionError(msg=reason, argument=argument, token=_named(token, argument))


def _leaves(hint: Any) -> Iterator[type]:
    """The types that a value may become, out of unions, tuples and annotations."""
    if isinstance(hint, type):
        yield hint
    for part in get_args(hint):
        yield from _leaves(part)


def _fault(argument: Argument, types: set[type], value: str) -> str | None:
    if Path not in types and not value.isprintable() and not _is_text(value):
        return "it is not UTF-8."
    if not value.strip() and argument.parameter.metavar in NAMED:
        return "it is empty; leave it out, or say which."
    if float in types and value not in NO_NUMBERS and not NUMBER.fullmatch(value):
        if argument.parameter.metavar == "SECONDS":
            return f'"{value}" is not a number of seconds{_in_seconds(value)}'
        return f'"{value}" is not a number.'
    if int in types and not WHOLE.fullmatch(value):
        return f'"{value}" is not a whole number.'
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes that were no text when the process was given them
        return False
    return True


def _in_seconds(value: str) -> str:
    found = WITH_UNIT.fullmatch(value.strip().lower())
    if found is None or found[2] not in UNITS:
        return "; write it without a unit, as 0.1."
    return f"; write {float(found[1]) * UNITS[found[2]]:g}."


def _named(token: Token, argument: Argument) -> Token:
    """With the name that it goes by, for who gave it by its place in the line."""
    return token if token.keyword else token.evolve(keyword=argument.name)
