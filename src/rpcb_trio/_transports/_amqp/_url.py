"""The broker's URL, checked before anything is started, and never shown with its password."""

from __future__ import annotations

import re

import msgspec
from yarl import URL

from rpcb_trio._transports._topology import LONGEST_HEARTBEAT, LONGEST_NAME
from rpcb_trio.errors import SettingError

PORTS = {"amqp": 5672, "amqps": 5671}

AUTHORITY_OPTIONS = ("cafile", "capath", "cadata")
CERTIFICATE_OPTIONS = ("certfile", "keyfile")
TLS_OPTIONS = (*AUTHORITY_OPTIONS, *CERTIFICATE_OPTIONS, "no_verify_ssl")
OPTIONS = ("auth", "heartbeat", "name", *TLS_OPTIONS)
"""All that a URL may say after its `?`."""


class Address(msgspec.Struct, frozen=True):
    """Where a broker is and how to be known there. Its text never holds the password."""

    url: URL

    @property
    def host(self) -> str:
        return self.url.host or "localhost"

    @property
    def port(self) -> int:
        return self.url.port or PORTS[self.url.scheme]

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.url.user or "guest"

    @property
    def name(self) -> str | None:
        """The connection's name, where the URL gives one."""
        return self.option("name")

    @property
    def is_tls(self) -> bool:
        """Whether it is to be spoken to over TLS."""
        return self.url.scheme == "amqps"

    @property
    def verifies(self) -> bool:
        """Whether the broker's certificate is verified; it is unless the URL says otherwise."""
        return self.option("no_verify_ssl") != "1"

    @property
    def login(self) -> str:
        """How we log in: `PLAIN`, with user and password, or `EXTERNAL`, by the client's certificate."""
        return (self.option("auth") or "plain").upper()

    def option(self, name: str) -> str | None:
        """What the URL says after its `?`; None where it does not."""
        return self.url.query.get(name)

    def __str__(self) -> str:
        return str(self.url if self.url.password is None else self.url.with_password("***"))

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"


def parse_url(url: str, *, heartbeat: int) -> Address:
    """Check a URL; `heartbeat` (seconds) holds unless the URL names its own.

    Raises:
        SettingError: it is no URL of an AMQP broker, or its options contradict each other.
    """
    try:
        parsed = URL(url)
    except ValueError:
        # The cause would show the URL, and with it the password.
        raise SettingError("url can't be read; write special characters of a password as %xx") from None
    if parsed.scheme not in PORTS:
        raise SettingError("url must begin with amqp:// or amqps://")
    if re.search(r"[/?#].*@", url.partition("://")[2], re.DOTALL) or parsed.fragment:
        # Perhaps what looks like a path is half a password; it must neither be used nor shown.
        raise SettingError("url has / ? # or @ in a password or a path; write it as %xx")
    if not parsed.host:
        raise SettingError(f"url names no host; write {parsed.scheme}://user:password@host:port/vhost")
    try:
        (parsed.raw_host or "").encode("idna")  # as name look-ups do, and raise what is no OSError
    except UnicodeError:
        raise SettingError(
            f"url: no host can be named {parsed.host[:80]!r}; its parts between dots have 1 to 63 characters"
        ) from None
    if len(parsed.path.removeprefix("/").encode()) > LONGEST_NAME:
        raise SettingError(f"url: a virtual host's name has {LONGEST_NAME} bytes at most")
    given = parsed.query.get("heartbeat", str(heartbeat))
    if not (given.isascii() and given.isdecimal()) or int(given) > LONGEST_HEARTBEAT:
        raise SettingError(f"heartbeat is in whole seconds, 0 (none) to {LONGEST_HEARTBEAT}, not {given!r}")
    address = Address(parsed.update_query(heartbeat=given))
    _check_options(address)
    return address


def _check_options(address: Address) -> None:
    given = set(address.url.query)
    unknown = sorted(given.difference(OPTIONS))
    if unknown:
        raise SettingError(f"url has an unknown option {unknown[0]!r}; the known ones: {', '.join(OPTIONS)}")
    for_tls = [name for name in TLS_OPTIONS if name in given]
    if for_tls and not address.is_tls:
        raise SettingError(
            f"url has {for_tls[0]}, which is for TLS; begin it with amqps://, or leave that out"
        )
    if address.option("no_verify_ssl") not in (None, "0", "1"):
        raise SettingError("url: no_verify_ssl is 0 (verify the broker's certificate) or 1 (do not)")
    if "keyfile" in given and "certfile" not in given:
        raise SettingError("url has a keyfile without a certfile; name the client's certificate too")
    if address.login not in ("PLAIN", "EXTERNAL"):
        raise SettingError("url: auth is plain (user and password) or external (the client's certificate)")
    if address.login == "EXTERNAL" and "certfile" not in given:
        raise SettingError(
            "url: auth=external logs in by a certificate; use amqps:// with certfile and keyfile"
        )
