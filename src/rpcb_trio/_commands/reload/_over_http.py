"""The wish to reload, sent to a process's health port."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

import msgspec

from rpcb_trio._commands._control import Unreachable
from rpcb_trio._commands._settings._changes import Report
from rpcb_trio._shown import shown
from rpcb_trio.errors import SettingError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 3600.0
"""A model that is loaded takes its time."""

OF_GATEWAY = "that is a gateway, which reloads at SIGHUP, or by --pid on its own machine"

LONGEST_ANSWER = 1 << 20
LONGEST_LINE = 300


def ask_at(url: str, token: str | None) -> Report:
    """Have the process behind a health port reload, and return its report.

    Raises:
        SettingError: the URL is wrong, or the token.
        Unreachable: it does not answer.
    """
    parts = _checked(url)
    if token is None:
        raise SettingError("control_token is missing; give --token-file, or set RPCB_CONTROL_TOKEN")
    status, body = _post(parts, token)
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


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        has_port = False
    if not has_port or parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"--url {url}: write it as http://127.0.0.1:8080")
    return parts


def _post(url: SplitResult, token: str) -> tuple[int, bytes]:
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=CONNECT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS)
        path = url.path.rstrip("/") or "/reload"
        connection.request("POST", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return response.status, response.read(LONGEST_ANSWER)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: HTTP can't carry the token or the URL
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        where = f"{url.hostname}:{connection.port}"
        raise Unreachable(f"{where} can't be asked: {reason}; does serve run with --health-port?") from error
    finally:
        connection.close()
