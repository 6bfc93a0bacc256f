"""Variables: which are ours, what their values mean, and which look like ours but are not.

Whatever wrote them may have left something around a value: quotes and line ends of an env file, a byte-order
mark, spaces. That is not part of it. What is empty then is not set.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import fields
from ipaddress import ip_address
from urllib.parse import urlsplit

from cyclopts import App, ArgumentCollection, Token

from rpcb_trio._commands._settings._file import FileTable
from rpcb_trio._commands._settings._text_files import bare
from rpcb_trio._commands.gateway._settings import GatewaySettings
from rpcb_trio._commands.serve._target import did_you_mean
from rpcb_trio._shown import shown

log = logging.getLogger("rpcb_trio")

PREFIX = "RPCB_"

PASSWORD = "RPCB_PASSWORD"  # noqa: S105 - a name
"""Spaces and quotes may belong to it."""

MOST_TOLD = 10
"""Variables that are told to be no setting."""

KNOWN = frozenset(
    f"{PREFIX}{each.name.upper()}" for table in (FileTable, GatewaySettings) for each in fields(table)
) | {f"{PREFIX}CONFIG"}

LINK = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$|_ENV_\w+$|_NAME$"
)
"""How the names end that Kubernetes makes of a Service, and Docker of a link."""


def read_variables(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Take what variables mean for what they say. Called by cyclopts between variables and file."""
    for argument in arguments:
        argument.tokens[:] = [
            each
            for token in argument.tokens
            for each in ([token] if token.source != "env" else _meant(token))
        ]


def _meant(token: Token) -> Iterable[Token]:
    value = bare(token.value)
    if value and token.keyword == PASSWORD:
        value = token.value.strip("\r\n")
    if value and not _is_link(token.keyword or "", value):
        yield token.evolve(value=value)


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
        f"{did_you_mean(_as_ours(name), KNOWN) or '; python -m rpcb_trio serve --help lists them all'}"
        for name in found
    ]
    more = len(lines) - MOST_TOLD
    return (
        lines if more <= 0 else [*lines[:MOST_TOLD], f"so are {more} more variables that begin with {PREFIX}"]
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
