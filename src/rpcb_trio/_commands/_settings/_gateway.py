"""Every setting of the gateway, once; its routes have tables of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from ssl import Purpose, SSLContext, create_default_context
from stat import S_IWOTH
from typing import Annotated

from cyclopts import Group

from rpcb_trio._bounds import COUNT, FINITE, FINITE_OR_0, NOT_NEGATIVE, POSITIVE, Bounds
from rpcb_trio._commands._settings._broker import value_in_file
from rpcb_trio._commands._settings._parameters import setting, several
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._shared import PORT, ConnectionSettings
from rpcb_trio._commands._settings._text import text_in
from rpcb_trio._commands._settings._values import BYTES, SECONDS
from rpcb_trio._gateway import GatewayOptions, lines_of_keys
from rpcb_trio.errors import SettingError

HTTP = Group("HTTP", sort_key=-4)
ACCESS = Group("Access", sort_key=-3)
LIMITS = Group("Limits", sort_key=-2)
FILES = Group("Files", sort_key=-1)
JOBS = Group("Jobs", sort_key=0)

DEFAULTS = GatewayOptions()

ONLY_HERE = ("localhost",)
"""Names of a gateway that only this machine reaches: a page may have given a name of its own this address."""


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(ConnectionSettings):
    """Where the gateway listens, and how it treats its clients."""

    host: Annotated[str, setting(HTTP, "ADDRESS", common=True)] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: Annotated[int, setting(HTTP, "PORT", bounds=PORT, common=True)] = 8083
    """TCP port; 0 takes any free port, which the log names."""
    rpc: Annotated[tuple[str, ...], several(HTTP, "QUEUE", common=True)] = ()
    """Queue that POST /rpc/QUEUE reaches, besides the routes' names; * stands for anything. Repeatable."""
    serve: Annotated[tuple[str, ...], several(HTTP, "NAME=MODULE:ATTRIBUTE", common=True)] = ()
    """Service that this process serves itself, on an embedded broker instead of RabbitMQ; the route of this
    name reaches it, and so does POST /rpc/NAME. Repeatable."""
    preset: Annotated[tuple[str, ...], several(HTTP, "NAME=PRESET")] = ()
    """Known API that the service of this name is reached by, too: openai-transcriptions, openai-embeddings or
    open-inference. Without a route of that name its queue is NAME. Repeatable."""
    timeout: Annotated[float, setting(HTTP, unit=SECONDS, bounds=FINITE, common=True, live=True)] = (
        DEFAULTS.timeout
    )
    """How long a reply is awaited, by routes that do not set it; it travels with the request."""
    cancel: Annotated[bool, setting(HTTP)] = False
    """Whether workers are told of requests whose client has hung up, or whose reply took too long; they
    listen with --cancel too."""
    cors: Annotated[tuple[str, ...], several(HTTP, "ORIGIN")] = ()
    """Origin whose pages may call, as https://example.org; * for all. Repeatable."""
    cors_credentials: Annotated[bool, setting(HTTP, needs="cors")] = False
    """Pages of those origins may send cookies and other credentials; with --cors '*' any page may."""
    allowed_host: Annotated[tuple[str, ...], several(HTTP, "NAME")] = ()
    """Name by which the gateway may be reached, besides addresses, names without a dot and that of
    public_url; * in it stands for anything. If none is given, all names are allowed, or no
    others if host is this machine's own address. Repeatable."""
    tenant: Annotated[
        str | None, setting(HTTP, "HEADER", shown="none, all users are one tenant", live=True)
    ] = None
    """Header that says whose a request is; it goes on to workers with the same tenant, which are then shared
    fairly among the users."""
    trusted_proxy: Annotated[tuple[str, ...], several(HTTP, "ADDRESS")] = ()
    """Address or network of a proxy whose X-Forwarded-Proto is believed; * for all. Repeatable."""
    events: Annotated[
        str | None, setting(HTTP, "EXCHANGE", shown="none, the page has no live view", common=True)
    ] = None
    """Exchange that the workers publish their events to, for the page's live view."""
    metrics: Annotated[bool | None, setting(HTTP, shown="yes, where prometheus_client is installed")] = None
    """Whether Prometheus finds metrics at /metrics."""
    public_url: Annotated[str | None, setting(HTTP, "URL", shown="what the request was sent to")] = None
    """What the URLs of files begin with."""
    drain_timeout: Annotated[float, setting(HTTP, unit=SECONDS, bounds=FINITE_OR_0)] = 30.0
    """After a signal, how long the answers to what is in flight may take."""
    certfile: Annotated[str | None, setting(HTTP, "FILE")] = None
    """Certificate in PEM, with those between it and the authority, for HTTPS. A reload reads it again."""
    keyfile: Annotated[str | None, setting(HTTP, "FILE")] = None
    """Its private key, without a passphrase."""
    api_key: Annotated[tuple[str, ...], several(ACCESS, "NAME=HASH", secret=True, live=True)] = ()
    """API key of a caller, by its SHA-256 hash: rpcb-trio api-key makes one. With any, or with jwt-keys,
    every caller must show one. Repeatable."""
    api_key_file: Annotated[str | None, setting(ACCESS, "FILE", live=True)] = None
    """Or: a file that holds such lines. A reload reads it again."""
    jwt_keys: Annotated[str | None, setting(ACCESS, "PLACE", live=True)] = None
    """Who issues tokens (JWT), by his public key: a file in PEM, or the https:// URL of a JWKS."""
    jwt_issuer: Annotated[str | None, setting(ACCESS, "TEXT", live=True)] = None
    """The issuer that each token must name."""
    jwt_audience: Annotated[str | None, setting(ACCESS, "TEXT", live=True)] = None
    """The audience that each token must name."""
    jwt_algorithm: Annotated[tuple[str, ...], several(ACCESS, "ALGORITHM", live=True, needs="jwt_keys")] = (
        DEFAULTS.jwt_algorithm
    )
    """How tokens may be signed; RS256 and ES256 by default. Repeatable."""
    rate_limit: Annotated[str | None, setting(ACCESS, "N/s|m|h", shown="none", live=True)] = None
    """How many requests each of these callers may send, as 100/m; further ones get 429."""
    max_in_flight: Annotated[int, setting(LIMITS, "N", bounds=COUNT, common=True, live=True)] = (
        DEFAULTS.max_in_flight
    )
    """The most calls at once; further requests get 503."""
    max_upload: Annotated[int, setting(LIMITS, unit=BYTES, bounds=COUNT, common=True, live=True)] = (
        DEFAULTS.max_upload
    )
    """The largest body of a request; a larger one gets 413."""
    max_buffered: Annotated[int, setting(LIMITS, unit=BYTES, bounds=COUNT, live=True)] = DEFAULTS.max_buffered
    """The most of all bodies that are held at once; further requests get 503."""
    max_unsent: Annotated[int, setting(LIMITS, unit=BYTES, bounds=COUNT)] = DEFAULTS.max_unsent
    """The most of all answers that wait to be read; beyond it the slowest clients are cut off."""
    max_streams: Annotated[
        int, setting(LIMITS, "N", bounds=NOT_NEGATIVE, live=True, needs=("events", "serve", "jobs"))
    ] = DEFAULTS.max_streams
    """The most browsers that watch the live view, and the most clients that watch jobs; further ones get
    503."""
    max_message_size: Annotated[
        int | None,
        setting(LIMITS, unit=BYTES, bounds=COUNT, shown="what the broker takes by default, by its version"),
    ] = None
    """The largest message for the broker; a request that needs a larger one gets 413, or goes by claims. Set
    it where max_message_size in rabbitmq.conf is not the default."""
    upload_timeout: Annotated[float, setting(LIMITS, unit=SECONDS, bounds=POSITIVE, live=True)] = (
        DEFAULTS.upload_timeout
    )
    """How long an upload may take; then it gets 408."""
    files: Annotated[str | None, setting(FILES, "PLACE", shown="a temporary directory")] = None
    """Where files live that an answer's url leads to: a directory, or a URL that fsspec knows
    (s3://bucket/prefix, with the package s3fs)."""
    files_kept: Annotated[float, setting(FILES, unit=SECONDS, bounds=FINITE)] = DEFAULTS.files_kept
    """How long files are kept."""
    files_size: Annotated[int, setting(FILES, unit=BYTES, bounds=NOT_NEGATIVE)] = DEFAULTS.files_size
    """How much space all files may take; the oldest are deleted first."""

    claims: Annotated[str | None, setting(FILES, "PLACE", shown="none")] = None
    """Store for requests and replies that are larger than max_message_size: a directory, or a URL that fsspec
    knows. The workers' claims must name it, too."""
    jobs: Annotated[str | None, setting(JOBS, "PLACE", shown="none, there are no jobs")] = None
    """Where jobs and their replies live, for POST /jobs/NAME: a directory, or a URL that fsspec knows.
    Gateways that share it share their jobs."""
    jobs_ttl: Annotated[
        float, setting(JOBS, unit=SECONDS, bounds=Bounds(least=1, most=30 * 86400), live=True, needs="jobs")
    ] = DEFAULTS.jobs_ttl
    """How long a job and its reply are kept, from when it was submitted; up to 30 days."""
    jobs_max: Annotated[int, setting(JOBS, "N", bounds=COUNT, live=True, needs="jobs")] = DEFAULTS.jobs_max
    """The most jobs that wait for their replies; further ones get 429."""
    jobs_size: Annotated[int, setting(JOBS, unit=BYTES, bounds=COUNT, live=True, needs="jobs")] = (
        DEFAULTS.jobs_size
    )
    """How much space all jobs and replies may take; further jobs get 507."""
    jobs_callback: Annotated[tuple[str, ...], several(JOBS, "ORIGIN", needs="jobs")] = ()
    """Origin that may be told once a job is done, as https://example.org; needs jobs_secret. Repeatable."""
    jobs_secret: Annotated[
        str | None, setting(JOBS, "BASE64", shown=False, secret=True, needs="jobs_callback")
    ] = field(default=None, repr=False)
    """What that is signed with (Standard Webhooks). Set RPCB_JOBS_SECRET rather than the flag, which other
    users of the machine can see."""
    jobs_secret_file: Annotated[str | None, setting(JOBS, "FILE", shown=False, needs="jobs_callback")] = None
    """Or: a file that holds it."""

    @property
    def tls(self) -> SSLContext | None:
        """For HTTPS; None without a certificate.

        Raises:
            SettingError: it can't be read.
        """
        if self.certfile is None and self.keyfile is None:
            return None
        context = create_default_context(Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        self.renew(context)
        return context

    def renew(self, tls: SSLContext) -> None:
        """Read certificate and key again, for connections to come.

        Raises:
            SettingError: they can't be read.
        """
        if self.certfile is None or self.keyfile is None:
            raise SettingError("certfile and keyfile go together; set both or none")
        try:
            tls.load_cert_chain(self.certfile, self.keyfile, password=_no_passphrase)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SettingError(
                f"certfile {self.certfile} with keyfile {self.keyfile} can't be used: {why}"
            ) from error

    @property
    def options(self) -> GatewayOptions:
        """As the app takes them; what stands in files is read anew.

        Raises:
            SettingError: one is wrong, or a file can't be read.
        """
        check_partners(self)
        names = {each.name for each in fields(self)}.intersection(GatewayOptions.__struct_fields__)
        given = {name: getattr(self, name) for name in names}
        given["jobs_secret"] = secret_of(self)
        given["api_keys"] = (*self.api_key, *_keys_in(self.api_key_file))
        given["jwt_keys"] = _key_in(self.jwt_keys)
        given["allowed_host"] = self.allowed_host or (ONLY_HERE if is_loopback(self.host) else ())
        return GatewayOptions(**given)


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; take it away")


def _keys_in(path: str | None) -> list[str]:
    if path is None:
        return []
    lines = lines_of_keys(text_in("api_key_file", path))
    if Path(path).stat().st_mode & S_IWOTH:
        raise SettingError(f"api_key_file {path} can be written by everybody; take that away with chmod o-w")
    if not lines:  # it may be half written; without keys all would be let in
        raise SettingError(f"api_key_file {path} holds no keys; write NAME=HASH into it, or leave it out")
    return lines


def _key_in(place: str | None) -> str | None:
    return place if place is None or "://" in place else text_in("jwt_keys", place)


def secret_of(settings: GatewaySettings) -> str | None:
    """What webhooks are signed with; None where it is not set.

    Raises:
        SettingError: it is set in two places, or can't be read.
    """
    if settings.jobs_secret_file is None:
        return settings.jobs_secret
    if settings.jobs_secret is not None:
        raise SettingError("jobs_secret and jobs_secret_file are both set; leave one of them out")
    return value_in_file("jobs_secret_file", settings.jobs_secret_file)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
