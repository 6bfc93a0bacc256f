"""Settings of the gateway that hold for all routes."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

import msgspec

from rpcb_trio._gateway._credentials import read_keys
from rpcb_trio._gateway._rates import Rate
from rpcb_trio._gateway._tokens import tokens_of
from rpcb_trio.errors import SettingError

MIB = 2**20

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What HTTP takes as the name of a header."""
ORIGIN = re.compile(r"https?://[^/?#\s]+", re.ASCII)
"""As browsers send it (RFC 6454, 6.2)."""


HOST_PATTERN = re.compile(r"[A-Za-z0-9*._-]+", re.ASCII)


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the gateway. Times are in seconds, sizes in bytes.

    Raises:
        SettingError: a header, an origin, a URL, a host, a proxy or a key is malformed.
    """

    timeout: float = 30.0
    """For the reply, of a route that sets none and of `/rpc/NAME`."""
    cancel: bool = False
    """Whether workers are told of requests that are given up (see `open_client`), since the client has hung
    up or the reply took too long; where the app is given an open client, that one's setting holds."""
    rpc: tuple[str, ...] = ()
    """Queues that `/rpc/NAME` reaches besides the routes' names; `*` in one stands for anything."""
    max_in_flight: int = 256
    """The most requests that await a reply at once; further ones get 503."""
    max_upload: int = 90 * MIB
    """The largest body of a request; a larger one gets 413."""
    max_buffered: int = 1024 * MIB
    """The most that all request bodies hold together; further ones get 503."""
    upload_timeout: float = 60.0
    """How long an upload may take; then it gets 408."""
    max_streams: int = 64
    """The most browsers that watch the live view at once, and the most clients that watch jobs; further ones
    get 503."""
    max_unsent: int = 1024 * MIB
    """The most that responses may hold while clients take them. Beyond it the slowest clients are cut off;
    where none is slow, further large responses become 503."""
    retry_after: int = 1
    """What a 503 says in its `Retry-After`."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may call, as `https://example.org`; `*` for all."""
    cors_credentials: bool = False
    """Whether those pages may send cookies and other credentials."""
    allowed_host: tuple[str, ...] = ()
    """Host names that requests may be sent to, besides addresses, names without a dot and `public_url`'s; `*`
    in one stands for anything. Others get 421. Without any, all names may be sent to."""
    tenant: str | None = None
    """The HTTP header that says whose a request is: it goes on to workers, whose `Shares` go by it. None or
    `reply-to` where none does; then all users of the gateway are one tenant."""
    api_keys: tuple[str, ...] = ()
    """API keys, each as `NAME=HASH`, with the SHA-256 hash of the key in hexadecimal digits. With these or
    `jwt_keys` callers must show one."""
    jwt_keys: str | None = None
    """Public key in PEM of those who issue tokens, or the URL of a JWKS with their keys."""
    jwt_issuer: str | None = None
    """Who issues them: `iss` of each token."""
    jwt_audience: str | None = None
    """For whom they are: what `aud` of each token must name."""
    jwt_algorithm: tuple[str, ...] = ("RS256", "ES256")
    """How they may be signed."""
    rate_limit: str | None = None
    """How many requests of routes each of these callers may send, as `100/m`; further ones get 429."""
    trusted_proxy: tuple[str, ...] = ()
    """Addresses or networks of proxies whose `X-Forwarded-Proto` is believed; `*` for all."""
    files: str | None = None
    """Where files are kept to which URLs in answers lead: a directory, or a URL for fsspec; None for a
    temporary directory."""
    files_kept: float = 3600.0
    """For how long they are kept."""
    files_size: int = 1024 * MIB
    """How much they may take in all; the oldest are removed first."""
    jobs: str | None = None
    """Where jobs and their replies are kept: a directory, or a URL for fsspec; None for no jobs."""
    jobs_ttl: float = 86400.0
    """For how long, from when a job was submitted."""
    jobs_max: int = 1000
    """The most jobs that wait for their replies; further ones get 429."""
    jobs_size: int = 1024 * MIB
    """How much all jobs and replies may take. Where they do, further jobs get 507; where replies come
    nevertheless, the oldest jobs that are done are removed."""
    jobs_callback: tuple[str, ...] = ()
    """Origins that may be told of jobs that are done, as `https://example.org`."""
    jobs_secret: str | None = None
    """What the telling is signed with, in base64 (see Standard Webhooks)."""
    public_url: str | None = None
    """What those URLs begin with; None for what the request was sent to."""

    def __post_init__(self) -> None:
        """Check what would silently have no effect."""
        if self.tenant is not None and not HEADER.fullmatch(self.tenant):
            raise SettingError(
                f"tenant is {self.tenant!r}; name an HTTP header, as x-tenant, or set it to reply-to"
            )
        self._check_callers()
        for origin in self.cors:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise SettingError(f"cors is {origin}; write it as https://example.org, without a path, or *")
        self._check_jobs()
        if self.public_url is not None and not self.public_url.startswith(("http://", "https://")):
            raise SettingError(f"public_url is {self.public_url}; write it as https://example.org")
        for host in self.allowed_host:
            if not HOST_PATTERN.fullmatch(host):
                raise SettingError(
                    f"allowed_host has {host}; write it as example.org, without scheme and port"
                )
        for proxy in self.trusted_proxy:
            if proxy != "*":
                _network(proxy)

    def __repr__(self) -> str:
        shown = self if self.jobs_secret is None else msgspec.structs.replace(self, jobs_secret="***")  # noqa: S106 - as it says
        return msgspec.Struct.__repr__(shown)

    def _check_jobs(self) -> None:
        for origin in self.jobs_callback:
            if not ORIGIN.fullmatch(origin):
                raise SettingError(
                    f"jobs_callback is {origin}; write it as https://example.org, without a path"
                )
        if self.jobs is None and (self.jobs_callback or self.jobs_secret is not None):
            raise SettingError("jobs_callback and jobs_secret have no effect without jobs; set that, too")

    def _check_callers(self) -> None:
        read_keys(self.api_keys)
        tokens_of(self.jwt_keys, self.jwt_issuer, self.jwt_audience, self.jwt_algorithm)
        if self.rate_limit is not None:
            Rate.read(self.rate_limit)
            if not self.has_callers:
                raise SettingError("rate_limit is for callers with keys; set api_key_file or jwt_keys, too")

    @property
    def has_callers(self) -> bool:
        """Whether callers must show a key or a token."""
        return bool(self.api_keys) or self.jwt_keys is not None

    def allows_queue(self, name: str) -> bool:
        """Whether `/rpc/NAME` may reach this queue; never one that the broker has named."""
        return not is_named_by_broker(name) and any(fnmatchcase(name, pattern) for pattern in self.rpc)

    def allows_host(self, name: str) -> bool:
        """Whether requests may be sent to this host, given without its port."""
        name = name.rstrip(".").lower()
        if not self.allowed_host or "." not in name or name.endswith(".localhost") or _is_address(name):
            return True
        patterns = (*self.allowed_host, _host_of(self.public_url or "") or "")
        return any(fnmatchcase(name, pattern.lower()) for pattern in patterns)

    def trusts_proxy(self, address: str) -> bool:
        """Whether a peer is such a proxy."""
        if "*" in self.trusted_proxy:
            return True
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        mapped = peer.ipv4_mapped if isinstance(peer, IPv6Address) else None
        return any((mapped or peer) in _network(proxy) for proxy in self.trusted_proxy)


def is_named_by_broker(name: str) -> bool:
    """Whether only the broker makes queues of this name: server-named ones, and direct reply-to."""
    return name.startswith("amq.")


def _host_of(url: str) -> str | None:
    """The host that a URL names; None where it can't be read."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise SettingError(
            f"trusted_proxy has {text}; write an address or a network, as 10.0.0.0/8, or *"
        ) from None
