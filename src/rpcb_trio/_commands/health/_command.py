"""The command `health`."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Annotated
from urllib.parse import SplitResult

import msgspec
from cyclopts import Group

from rpcb_trio._commands._exits import ExitCode, Unreachable
from rpcb_trio._commands._health_port import ask, checked_url
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import ConfigPath, HealthSettings
from rpcb_trio._instruments import Health
from rpcb_trio._shown import shown
from rpcb_trio.errors import SettingError

ASKED = Group("What is asked", sort_key=0)

TIMEOUT = 5.0
"""Seconds for an answer."""

LONGEST_LINE = 10_000

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - it is not listened on here
"""Where to reach a worker that listens on all addresses."""


def health(
    *,
    url: Annotated[
        str | None,
        flag(ASKED, "What to ask. Without it, /readyz at health-port of this machine.", "URL", shown=False),
    ] = None,
    config: ConfigPath = None,  # noqa: ARG001 - was read to fill in the other settings
    probes: HealthSettings = HealthSettings(),
) -> int:
    """Ask whether the workers of a running process are ready.

    It prints one line, and ends with 0 if they are, else with 1.
    """
    ready, line = _ask(checked_url(url or _own_url(probes), "http://127.0.0.1:8080/readyz"))
    sys.stdout.write(f"{line}\n")
    return ExitCode.DONE if ready else ExitCode.CRASHED


def _own_url(probes: HealthSettings) -> str:
    if not probes.health_port:
        raise SettingError("health_port is missing; give --health-port, RPCB_HEALTH_PORT, or --url")
    host = EVERYWHERE.get(probes.health_host, probes.health_host)
    return f"http://{host}:{probes.health_port}/readyz"


def _ask(url: SplitResult) -> tuple[bool, str]:
    """Whether all is well, and the line that says so."""
    try:
        status, body = ask(url, "GET", url.path or "/", seconds=TIMEOUT)
    except Unreachable as error:
        return False, f"not ready: {error}"
    is_well = status == HTTPStatus.OK
    return is_well, f"{'ready' if is_well else 'not ready'}: {_workers(body) or f'HTTP {status}'}"


class _Probed(msgspec.Struct):
    workers: list[Health]


def _workers(body: bytes) -> str:
    """Each worker, on one line; nothing if the answer is not a worker's."""
    try:
        workers = msgspec.json.decode(body, type=_Probed).workers
    except msgspec.DecodeError:
        return ""
    return shown(" ".join("; ".join(map(str, workers)).split()), LONGEST_LINE)
