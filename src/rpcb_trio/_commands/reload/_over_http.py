"""The wish to reload, sent to a process's health port."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from rpcb_trio._commands._health_port import ask, checked_url
from rpcb_trio._commands._settings._changes import Report
from rpcb_trio._shown import shown
from rpcb_trio.errors import SettingError

ANSWER_SECONDS = 3600.0
"""A model that is loaded takes its time."""

OF_GATEWAY = "that is a gateway, which reloads at SIGHUP, or by --pid on its own machine"

LONGEST_LINE = 300


def ask_at(url: str, token: str | None) -> Report:
    """Have the process behind a health port reload, and return its report.

    Raises:
        SettingError: the URL is wrong, or the token.
        Unreachable: it does not answer.
    """
    parts = checked_url(url, "http://127.0.0.1:8080")
    if token is None:
        raise SettingError("control_token is missing; give --token-file, or set RPCB_CONTROL_TOKEN")
    status, body = ask(
        parts,
        "POST",
        parts.path.rstrip("/") or "/reload",
        seconds=ANSWER_SECONDS,
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        if status in (HTTPStatus.OK, HTTPStatus.CONFLICT):
            return msgspec.json.decode(body, type=Report)
        refused = msgspec.json.decode(body, type=_Refused)
        said = OF_GATEWAY if refused.request_id else refused.error
    except msgspec.DecodeError:
        said = f"HTTP {status}: that is no health port of rpcb-trio serve"
    raise SettingError(f"{url}: {shown(said, LONGEST_LINE)}")


class _Refused(msgspec.Struct):
    error: str
    request_id: str | None = None
    """Gateways alone have it."""
