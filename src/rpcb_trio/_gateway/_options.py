"""What holds for all routes."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import msgspec

from rpcb_trio._errors import SettingError

MEGABYTE = 2**20

ORIGIN = re.compile(r"https?://[^/?#\s]+", re.ASCII)
"""As browsers send it (RFC 6454, 6.2)."""


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway treats those who ask. Times are in seconds, sizes in bytes.

    Raises:
        SettingError: an origin or a URL is written in a way that no browser would take.
    """

    timeout: float = 30.0
    """Of a route that sets none, and of `/rpc/NAME`."""
    rpc: tuple[str, ...] = ()
    """Queues that `/rpc/NAME` reaches besides the routes' names; `*` in one stands for anything."""
    max_in_flight: int = 256
    """The most calls that await a reply at once; who comes then gets 503."""
    max_upload: int = 90 * MEGABYTE
    """The largest body of a request; a larger one gets 413."""
    max_buffered: int = 1024 * MEGABYTE
    """The most of all uploads that are held at once; who comes then gets 503."""
    upload_timeout: float = 60.0
    """How long an upload may take; one that takes longer gets 408."""
    max_streams: int = 64
    """The most browsers that watch the live view at once; who comes then gets 503."""
    retry_after: int = 1
    """What a 503 says in its `Retry-After`."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may call, as `https://example.org`; `*` for all."""
    files: str | None = None
    """Where files live that a `url` leads to: a directory, or a URL for fsspec; None for a temporary one."""
    files_kept: float = 3600.0
    """For how long."""
    files_size: int = 1024 * MEGABYTE
    """How much they may take in all; the oldest go first."""
    public_url: str | None = None
    """What a `url` begins with; None for what the request was sent to."""

    def __post_init__(self) -> None:
        """Check what a browser would silently make nothing of."""
        for origin in self.cors:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise SettingError(f"cors is {origin}; write it as https://example.org, without a path, or *")
        if self.public_url is not None and not self.public_url.startswith(("http://", "https://")):
            raise SettingError(f"public_url is {self.public_url}; write it as https://example.org")

    def allows_queue(self, name: str) -> bool:
        """Whether `/rpc/NAME` may reach this queue."""
        return any(fnmatchcase(name, pattern) for pattern in self.rpc)
