"""One store of claims: the files under one root."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from rpcb_trio._claims._claim import NAME, Claim
from rpcb_trio._files import Files
from rpcb_trio.errors import SettingError

RANDOM_BYTES = 24

OWNER_AND_GROUP = 0o640
"""Of new files in a directory: callers and workers may be users of one group."""

MOST_SWEPT = 10_000
"""Files that one sweep removes."""


class ClaimStore:
    """Puts bodies under one root, and gets and deletes them by their claims. All of it blocks.

    Args:
        where: a directory, or a URL for fsspec.

    Raises:
        SettingError: it names no store.
    """

    def __init__(self, where: str) -> None:
        self.root = _canonical(where)
        """As claims have it: two that are the same store to us are the same text."""
        self.files = Files(self.root, setting="claims", mode=OWNER_AND_GROUP)

    def open(self) -> None:
        """Make it, if it is not there.

        Raises:
            SettingError: it can't be used.
        """
        self.files.open()

    def put(self, body: bytes) -> Claim:
        """Put a body there.

        Raises:
            OSError: it can't be written.
        """
        claim = Claim.of(body, self.root, f"claim-{secrets.token_urlsafe(RANDOM_BYTES)}")
        self.files.put(claim.name, body)
        return claim

    def get(self, claim: Claim) -> bytes:
        """The body of a claim of this store; never more than its size, whatever is there.

        Raises:
            ValueError: there is another body.
            FileNotFoundError: there is none.
            OSError: it can't be read.
        """
        body = self.files.get(claim.name, 0, claim.size + 1)
        if not claim.is_to(body):
            raise ValueError("what is in the store is another body")
        return body

    def delete(self, claim: Claim) -> None:
        """Remove the body of a claim of this store, if it is there.

        Raises:
            OSError: it can't be removed.
        """
        with suppress(FileNotFoundError):  # another worker did it, for a redelivery
            self.files.delete(claim.name)

    def sweep(self, before: float) -> int:
        """Remove what was put there before that time, as `time.time()`; returns how many there were.

        Raises:
            OSError: it can't be listed, or one can't be removed.
        """
        found = self.files.found().items()
        old = [
            name
            for name, each in found
            if NAME.fullmatch(name) and each.changed is not None and each.changed < before
        ]
        for name in old[:MOST_SWEPT]:
            with suppress(FileNotFoundError):  # likewise
                self.files.delete(name)
        return len(old[:MOST_SWEPT])


def _canonical(where: str) -> str:
    """The one text for a store.

    Raises:
        SettingError: it names none.
    """
    if "://" not in where:
        where = f"file://{Path(os.path.abspath(where)).as_posix()}"  # noqa: PTH100 - links stay as they are
    remedy = "name a directory, or a URL as s3://bucket/prefix"
    scheme, _, rest = where.partition("://")
    try:
        has_login = "@" in urlsplit(where).netloc
    except ValueError:
        raise SettingError(f"claims can't be read as a URL; {remedy}") from None
    if has_login:
        raise SettingError("claims has a user or a password in it; give these to fsspec by its own variables")
    if "::" in where or "?" in where or "#" in where:
        raise SettingError(f"claims is {where}; {remedy}, without anything chained or added to it")
    place = rest.rstrip("/")
    segments = place.removeprefix("/").split("/")
    if not place or any(each in ("", ".", "..") for each in segments):
        raise SettingError(f"claims is {where}; {remedy}, without empty parts, . and ..")
    if scheme.lower() in ("file", "local") and not place.startswith("/"):
        raise SettingError(f"claims is {where}; a directory's URL has three slashes, as file:///srv/claims")
    return f"{scheme.lower()}://{place}"
