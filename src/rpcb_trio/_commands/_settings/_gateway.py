"""Every setting of the gateway, once; its routes have tables of their own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import ip_address
from typing import Annotated

from cyclopts import Group

from rpcb_trio._bounds import COUNT, FINITE, FINITE_OR_0, NOT_NEGATIVE, POSITIVE
from rpcb_trio._commands._settings._parameters import setting, several
from rpcb_trio._commands._settings._shared import PORT, ConnectionSettings
from rpcb_trio._commands._settings._values import BYTES, SECONDS
from rpcb_trio._gateway import GatewayOptions

HTTP = Group("HTTP", sort_key=-3)
LIMITS = Group("Limits", sort_key=-2)
FILES = Group("Files", sort_key=-1)

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
    cors: Annotated[tuple[str, ...], several(HTTP, "ORIGIN")] = ()
    """Origin whose pages may call, as https://example.org; * for all. Repeatable."""
    cors_credentials: Annotated[bool, setting(HTTP)] = False
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
    max_streams: Annotated[int, setting(LIMITS, "N", bounds=NOT_NEGATIVE, live=True)] = DEFAULTS.max_streams
    """The most browsers that watch the live view; further ones get 503."""
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

    @property
    def options(self) -> GatewayOptions:
        """As the app takes them."""
        names = {each.name for each in fields(self)}.intersection(GatewayOptions.__struct_fields__)
        given = {name: getattr(self, name) for name in names}
        given["allowed_host"] = self.allowed_host or (ONLY_HERE if is_loopback(self.host) else ())
        return GatewayOptions(**given)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
