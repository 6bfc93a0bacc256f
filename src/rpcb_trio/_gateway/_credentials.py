"""What a client shows of itself: an API key or a token, in the headers of its request.

A key stands in the settings as its SHA-256 hash alone. Keys are random and long, so that no slower hash is
needed (`new_key` makes them).
"""

from __future__ import annotations

import binascii
import hmac
import re
import secrets
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import msgspec

from rpcb_trio.errors import SettingError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
"""Of a key, for people: logs show it, routes name it, services may get it."""

HASH = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)

BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""What may follow `Bearer` (RFC 6750, 2.1)."""

LONGEST = 8192
"""Characters of a key or a token."""

KEY_BYTES = 32
PREFIX = "rpcb_"
"""How keys begin, so that tools which look for leaked secrets can know them."""


class Credential(msgspec.Struct, frozen=True):
    """A key or a token, and the name that was shown beside it, if one was."""

    text: str
    name: str | None = None

    def __repr__(self) -> str:
        return "Credential(***)"


class Keys(msgspec.Struct, frozen=True):
    """The names of all keys, by the hashes of these."""

    names: Mapping[bytes, str]

    def name_of(self, credential: Credential) -> str | None:
        """Whose key that is; None where it is none."""
        digest = sha256(credential.text.encode()).digest()
        found: str | None = None
        for each, name in self.names.items():  # all of them: how long it takes says nothing
            if hmac.compare_digest(each, digest):
                found = name
        return found if credential.name in (None, "", found) else None


def new_key() -> str:
    """A key that nobody can guess."""
    return f"{PREFIX}{secrets.token_urlsafe(KEY_BYTES)}"


def hash_of(key: str) -> str:
    """As it stands in the settings."""
    return sha256(key.encode()).hexdigest()


def read_keys(lines: Iterable[str]) -> Keys:
    """Read `NAME=HASH`; a name may have several, so that a key can be replaced without a gap.

    Raises:
        SettingError: one is written otherwise. What stands for a hash is not shown: it may be a key.
    """
    names: dict[bytes, str] = {}
    for line in lines:
        name, _, digest = (part.strip() for part in line.partition("="))
        if not NAME.fullmatch(name):
            raise SettingError(
                "an API key is written as NAME=HASH, with a name of letters, digits, and . _ @ - within it"
            )
        if not HASH.fullmatch(digest):
            raise SettingError(
                f"the API key of {name} has no SHA-256 hash of 64 hexadecimal digits; "
                f"rpcb-trio api-key {name} makes a key, and prints its hash"
            )
        if names.setdefault(bytes.fromhex(digest), name) != name:
            raise SettingError(f"{name} has the API key of {names[bytes.fromhex(digest)]}; make another one")
    return Keys(names)


def lines_of_keys(text: str) -> list[str]:
    """The keys in a file: one a line; empty lines and those that begin with # are left out."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def credential_in(authorization: Sequence[str], api_key: Sequence[str]) -> Credential | None:
    """What the headers `Authorization` and `X-API-Key` show; None where they show nothing.

    Raises:
        ValueError: they can't be read, or show several.
    """
    found = [
        *map(_authorized, authorization),
        *(Credential(_bounded(each.strip())) for each in api_key),
    ]
    if not found:
        return None
    if any(each != found[0] for each in found):
        raise ValueError("several are shown")
    return found[0]


def _authorized(header: str) -> Credential:
    scheme, _, rest = header.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and BEARER.fullmatch(rest):
        return Credential(_bounded(rest))
    if scheme.lower() == "basic":
        return _basic(rest)
    raise ValueError("it begins neither with Bearer nor with Basic, or nothing that makes sense follows")


def _basic(text: str) -> Credential:
    """The password is the key, and the user's name the name of that, or nothing (RFC 7617)."""
    try:
        name, colon, key = b64decode(_bounded(text), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("what follows Basic is not base64 of UTF-8") from None
    if not colon:
        raise ValueError("what follows Basic has no colon")
    return Credential(_bounded(key), name)


def _bounded(text: str) -> str:
    if not 0 < len(text) <= LONGEST:
        raise ValueError("it is empty, or very long")
    return text
