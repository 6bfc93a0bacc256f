"""The broker's URL, checked before anything is started, and never shown with its password."""

from __future__ import annotations

import re

import msgspec
from yarl import URL

from rpcb_trio._errors import SettingError

LONGEST_HEARTBEAT = 65534
"""Seconds; AMQP counts them in 16 bits."""

PORTS = {"amqp": 5672, "amqps": 5671}

TLS_OPTIONS = ("cafile", "capath", "cadata", "certfile", "keyfile")


class Address(msgspec.Struct, frozen=True):
    """Where a broker is and how to be known there. Its text never holds the password."""

    url: URL

    @property
    def host(self) -> str:
        """The broker's host name or IP address."""
        return self.url.host or "localhost"

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        return self.url.port or PORTS[self.url.scheme]

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.url.user or "guest"

    @property
    def name(self) -> str | None:
        """The connection's name, where the URL gives one."""
        return self.url.query.get("name")

    @property
    def tls_options(self) -> str:
        """The files that the URL names for TLS."""
        return ", ".join(f"{key}={self.url.query[key]}" for key in TLS_OPTIONS if key in self.url.query)

    def __str__(self) -> str:
        return str(self.url if self.url.password is None else self.url.with_password("***"))

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"


def parse_url(url: str, *, heartbeat: int) -> Address:
    """Check a URL; `heartbeat` (seconds) holds unless the URL names its own.

    Raises:
        SettingError: it is no URL of an AMQP broker.
    """
    try:
        parsed = URL(url)
    except ValueError:
        # The cause would show the URL, and with it the password.
        raise SettingError("url can't be read; write special characters of a password as %xx") from None
    if parsed.scheme not in PORTS:
        raise SettingError("url must begin with amqp:// or amqps://")
    if re.search(r"[/?#].*@", url.partition("://")[2]) or parsed.fragment:
        # Perhaps what looks like a path is half a password; it must neither be used nor shown.
        raise SettingError("url has / ? # or @ in a password or a path; write it as %xx")
    if not parsed.host:
        raise SettingError(f"url names no host; write {parsed.scheme}://user:password@host:port/vhost")
    given = parsed.query.get("heartbeat", str(heartbeat))
    if not (given.isascii() and given.isdecimal()) or int(given) > LONGEST_HEARTBEAT:
        raise SettingError(f"heartbeat is in whole seconds, 0 (none) to {LONGEST_HEARTBEAT}, not {given!r}")
    return Address(parsed.update_query(heartbeat=given))
