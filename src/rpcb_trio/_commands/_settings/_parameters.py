"""What makes a field a setting: its group in the help, its variable, its help, and how it is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from rpcb_trio._commands._settings._text_files import bare

SERVICE = Group("Service", sort_key=0)
FILE = Group("File", sort_key=1)
BROKER = Group("Broker", sort_key=2)
TOPOLOGY = Group("Topology", sort_key=3)
BATCHING = Group("Batching", sort_key=4)
REPLIES = Group("Requests and replies", sort_key=5)
EXECUTORS = Group("Executors", sort_key=6)
WORKER = Group("Worker", sort_key=7)
LOGGING = Group("Logging", sort_key=8)

POSITIVE = Number(gt=0, lt=math.inf)
FIELD_HELP = (
    "Or: bodies are msgpack maps of these. NAME=@FILE takes a file's bytes; NAME=@PATTERN makes a request of "
    "each file that matches. Repeatable."
)


def setting(group: Group, name: str, text: str, **more: Any) -> Parameter:
    """Give a field its group, its variable `RPCB_<NAME>` and its help."""
    return Parameter(group=group, env_var=f"RPCB_{name}", help=text, **more)


def flag(group: Group, text: str, metavar: str, **more: Any) -> Parameter:
    """As `setting`, for what has no variable."""
    return Parameter(group=group, help=text, metavar=metavar, negative="", **more)


def whole(group: Group, name: str, text: str, least: int, most: float = math.inf, **more: Any) -> Parameter:
    """As `setting`, for whole numbers within bounds."""
    return setting(group, name, text, validator=Number(gte=least, lte=most), **more)


def seconds(group: Group, name: str, text: str, **more: Any) -> Parameter:
    """As `setting`, for a number of seconds."""
    return setting(group, name, text, metavar="SECONDS", **more)


def several(group: Group, name: str, text: str, **more: Any) -> Parameter:
    """As `setting`, for a flag that may be repeated; its variable is separated by commas."""
    text += " Repeatable; in the variable separated by commas."
    return setting(group, name, text, env_var_split=_split_at_commas, negative="", show_default=False, **more)


def _split_at_commas(_: Any, value: str, delimiter: str | None = None) -> list[str]:
    return [part.strip() for part in bare(value).split(delimiter or ",") if part.strip()]


def shown_as(text: str) -> Callable[[Any], str]:
    """What the help says of a default, in words."""
    return lambda _: text
