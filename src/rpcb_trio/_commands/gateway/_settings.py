"""Every setting of the gateway, once; its routes have tables of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from cyclopts import Group
from cyclopts.validators import Number

from rpcb_trio._commands._settings._parameters import seconds, setting, several, whole
from rpcb_trio._commands._settings._shared import ConnectionSettings
from rpcb_trio._gateway import GatewayOptions

HTTP = Group("HTTP", sort_key=-3)
LIMITS = Group("Limits", sort_key=-2)
FILES = Group("Files", sort_key=-1)

DEFAULTS = GatewayOptions()

ONLY_HERE = ("localhost",)
"""Names of a gateway that only this machine reaches: a page may have given a name of its own this address."""


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(ConnectionSettings):
    """Where the gateway listens, and how it treats those who ask."""

    host: Annotated[
        str, setting(HTTP, "HOST", "Address to listen on; 0.0.0.0 for all.", metavar="ADDRESS")
    ] = "127.0.0.1"
    port: Annotated[
        int,
        whole(
            HTTP,
            "PORT",
            "TCP port; 0 takes any that is free, and the log says which.",
            0,
            65535,
            metavar="PORT",
        ),
    ] = 8083
    rpc: Annotated[
        tuple[str, ...],
        several(
            HTTP,
            "RPC",
            "Queue that POST /rpc/QUEUE reaches, besides the names of the routes; * stands for anything.",
            metavar="QUEUE",
        ),
    ] = ()
    serve: Annotated[
        tuple[str, ...],
        several(
            HTTP,
            "SERVE",
            "Service that this process serves itself, on an embedded broker instead of RabbitMQ; the route "
            "of this name reaches it, and so does POST /rpc/NAME.",
            metavar="NAME=MODULE:ATTRIBUTE",
        ),
    ] = ()
    timeout: Annotated[
        float,
        seconds(
            HTTP,
            "TIMEOUT",
            "How long a reply is awaited, by routes that do not say it; it travels with the request.",
            validator=Number(gt=0, lt=math.inf),
        ),
    ] = DEFAULTS.timeout
    cors: Annotated[
        tuple[str, ...],
        several(
            HTTP, "CORS", "Origin whose pages may call, as https://example.org; * for all.", metavar="ORIGIN"
        ),
    ] = ()
    cors_credentials: Annotated[
        bool,
        setting(
            HTTP,
            "CORS_CREDENTIALS",
            "Those pages may send cookies and such along; with --cors '*' any page may.",
        ),
    ] = False
    allowed_host: Annotated[
        tuple[str, ...],
        several(
            HTTP,
            "ALLOWED_HOST",
            "Name by which the gateway may be reached, besides addresses, names without a dot and that of "
            "public_url; * in it stands for anything. Without any all names may, or none if host is this "
            "machine's own address.",
            metavar="NAME",
        ),
    ] = ()
    trusted_proxy: Annotated[
        tuple[str, ...],
        several(
            HTTP,
            "TRUSTED_PROXY",
            "Address or network of a proxy whose X-Forwarded-Proto is believed; * for all.",
            metavar="ADDRESS",
        ),
    ] = ()
    events: Annotated[
        str | None,
        setting(
            HTTP,
            "EVENTS",
            "Exchange to which the workers tell their events, for the page's live view.",
            metavar="EXCHANGE",
            show_default=lambda _: "none, the page does without",
        ),
    ] = None
    public_url: Annotated[
        str | None,
        setting(
            HTTP,
            "PUBLIC_URL",
            "What the URLs of files begin with.",
            metavar="URL",
            show_default=lambda _: "what the request was sent to",
        ),
    ] = None
    drain_timeout: Annotated[
        float,
        seconds(
            HTTP,
            "DRAIN_TIMEOUT",
            "After a signal, how long what is in flight may take to be answered.",
            validator=Number(gte=0, lt=math.inf),
        ),
    ] = 30.0
    max_in_flight: Annotated[
        int, whole(LIMITS, "MAX_IN_FLIGHT", "The most calls at once; who comes then gets 503.", 1)
    ] = DEFAULTS.max_in_flight
    max_upload: Annotated[
        int,
        whole(
            LIMITS, "MAX_UPLOAD", "The largest body of a request; a larger one gets 413.", 1, metavar="BYTES"
        ),
    ] = DEFAULTS.max_upload
    max_buffered: Annotated[
        int,
        whole(
            LIMITS,
            "MAX_BUFFERED",
            "The most of all bodies that are held at once; who comes then gets 503.",
            1,
            metavar="BYTES",
        ),
    ] = DEFAULTS.max_buffered
    max_unsent: Annotated[
        int,
        whole(
            LIMITS,
            "MAX_UNSENT",
            "The most of all answers that wait to be taken; beyond it the slowest are cut off.",
            1,
            metavar="BYTES",
        ),
    ] = DEFAULTS.max_unsent
    max_streams: Annotated[
        int,
        whole(
            LIMITS, "MAX_STREAMS", "The most browsers that watch the live view; who comes then gets 503.", 0
        ),
    ] = DEFAULTS.max_streams
    upload_timeout: Annotated[
        float,
        seconds(
            LIMITS, "UPLOAD_TIMEOUT", "How long an upload may take; then it gets 408.", validator=Number(gt=0)
        ),
    ] = DEFAULTS.upload_timeout
    files: Annotated[
        str | None,
        setting(
            FILES,
            "FILES",
            "Where files live that an answer's url leads to: a directory, or a URL that fsspec knows "
            "(s3://bucket/prefix, with the package s3fs).",
            metavar="PLACE",
            show_default=lambda _: "a temporary directory",
        ),
    ] = None
    files_kept: Annotated[
        float, seconds(FILES, "FILES_KEPT", "For how long.", validator=Number(gt=0, lt=math.inf))
    ] = DEFAULTS.files_kept
    files_size: Annotated[
        int,
        whole(FILES, "FILES_SIZE", "How much they may take in all; the oldest go first.", 0, metavar="BYTES"),
    ] = DEFAULTS.files_size

    @property
    def options(self) -> GatewayOptions:
        """As the app takes them."""
        return GatewayOptions(
            timeout=self.timeout,
            rpc=self.rpc,
            max_in_flight=self.max_in_flight,
            max_upload=self.max_upload,
            max_buffered=self.max_buffered,
            max_streams=self.max_streams,
            upload_timeout=self.upload_timeout,
            max_unsent=self.max_unsent,
            cors=self.cors,
            cors_credentials=self.cors_credentials,
            allowed_host=self.allowed_host or (ONLY_HERE if _is_loopback(self.host) else ()),
            trusted_proxy=self.trusted_proxy,
            files=self.files,
            files_kept=self.files_kept,
            files_size=self.files_size,
            public_url=self.public_url,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
