"""The broker's URL, checked before anything is started, and never shown with its password."""

from __future__ import annotations

import msgspec
from yarl import URL

from rpcb_trio._errors import SettingError

LONGEST_HEARTBEAT = 65534


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
        return self.url.port or (5671 if self.url.scheme == "amqps" else 5672)

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.url.user or "guest"

    @property
    def name(self) -> str | None:
        """The connection's name, where the URL gives one."""
        return self.url.query.get("name")

    def __str__(self) -> str:
        return str(self.url.with_password("***") if self.url.password else self.url)

    __repr__ = __str__


def parse_url(url: str, *, heartbeat: int) -> Address:
    """Check a URL; `heartbeat` (seconds) holds unless the URL names its own.

    Raises:
        SettingError: it is no URL of an AMQP broker.
    """
    try:
        parsed = URL(url)
    except ValueError:
        # The cause would show the URL, and with it the password.
        raise SettingError(
            "url: it can't be read; is a special character of the password not escaped as %xx?"
        ) from None
    if parsed.scheme not in {"amqp", "amqps"}:
        raise SettingError("url: it must begin with amqp:// or amqps://")
    if not parsed.host:
        raise SettingError(f"url: it names no host, as in {parsed.scheme}://user:password@host:5672/vhost")
    given = parsed.query.get("heartbeat", str(heartbeat))
    if not given.isdecimal() or int(given) > LONGEST_HEARTBEAT:
        raise SettingError(
            f"url: heartbeat is in whole seconds, 0 (none) to {LONGEST_HEARTBEAT}, not {given!r}"
        )
    return Address(parsed.update_query(heartbeat=given))
