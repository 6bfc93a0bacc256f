"""What commands ask of the health port of a process that serves."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from rpcb_trio._commands._exits import Unreachable
from rpcb_trio.errors import SettingError

CONNECT_SECONDS = 5.0

LONGEST_ANSWER = 1 << 20
"""Bytes; what is longer is cut off."""


def checked_url(url: str, example: str) -> SplitResult:
    """The parts of a URL that was given as `--url`.

    Raises:
        SettingError: it is none of HTTP's.
    """
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        has_port = False
    if not has_port or parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"--url {url}: write it as {example}")
    return parts


def ask(
    url: SplitResult,
    method: str,
    path: str,
    *,
    seconds: float,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, bytes]:
    """The status and the body of the answer, which may take so many seconds.

    Raises:
        Unreachable: there is none.
    """
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=CONNECT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(seconds)
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read(LONGEST_ANSWER)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: HTTP can't carry the URL or a header
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        where = f"{url.hostname}:{connection.port}"
        raise Unreachable(f"{where} can't be asked: {reason}; does serve run with --health-port?") from error
    finally:
        connection.close()
