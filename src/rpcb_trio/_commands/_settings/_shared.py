"""Settings that several commands have: the way to the broker, what a service is made with, log and probes."""

# No annotations from __future__: as strings, those that a subclass inherits would be looked up in its module.

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from rpcb_trio._bounds import POSITIVE, Bounds
from rpcb_trio._commands._settings._parameters import (
    BROKER,
    EXECUTORS,
    FILE,
    LOGGING,
    SERVICE,
    TOPOLOGY,
    WORKER,
    flag,
    setting,
    several,
)
from rpcb_trio._commands._settings._values import SECONDS
from rpcb_trio._transports import LONGEST_HEARTBEAT

DEFAULT_URL = "amqp://guest:guest@localhost:5672/"
FLAT = Parameter(name="*")
"""Makes the fields of a table flags of the command that takes it."""
PORT = Bounds(least=0, most=65535)

ConfigPath = Annotated[
    Path | None,
    setting(
        FILE,
        "FILE",
        help="TOML, or PACKAGE:FILE.",
        shown="rpcb.toml, if there is one",
        common=True,
    ),
]
Target = Annotated[
    str | None,
    setting(
        SERVICE,
        help="module:attribute of a service, or the name of an installed one. Without it, the [workers.NAME] "
        "of the file are served.",
        shown=False,
        common=True,
        live=True,
    ),
]
Workers = Annotated[
    tuple[str, ...], flag(FILE, "Only this worker of the file. Repeatable.", "NAME", shown=False)
]


@FLAT
@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """How to reach the broker."""

    url: Annotated[str, setting(BROKER, "URL", shown="amqp://guest:guest@localhost", common=True)] = (
        DEFAULT_URL
    )
    """AMQP URL of the broker."""
    url_file: Annotated[str | None, setting(BROKER, "FILE", shown=False)] = None
    """Or: a file that holds the URL. It is read for each connection, and every 30 s: the broker is told a
    password that has changed."""
    user: Annotated[str | None, setting(BROKER, "NAME", shown=False)] = None
    """The broker's user, for a URL that names none."""
    password: Annotated[str | None, setting(BROKER, "TEXT", shown=False, secret=True)] = field(
        default=None, repr=False
    )
    """The password as it is, for a URL that has none. Set RPCB_PASSWORD rather than the flag, which other
    users of the machine can see."""
    password_file: Annotated[str | None, setting(BROKER, "FILE", shown=False)] = None
    """Or: a file that holds the password, read as --url-file is."""
    heartbeat: Annotated[
        int, setting(BROKER, unit=SECONDS, bounds=Bounds(least=0, most=LONGEST_HEARTBEAT))
    ] = 15
    """Heartbeat interval, whole seconds; 0 for none. A dead connection is noticed after three."""
    connect_timeout: Annotated[float, setting(BROKER, unit=SECONDS, bounds=POSITIVE)] = 10.0
    """How long one attempt to connect may take."""


@dataclass(frozen=True, kw_only=True)
class QueueSettings(ConnectionSettings):
    """A queue, and how to reach its broker."""

    queue: Annotated[str, setting(TOPOLOGY, "NAME", shown=False, common=True)] = ""
    """The worker's queue. Required."""


@FLAT
@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What a service is made with, and where it computes."""

    option: Annotated[tuple[str, ...], several(SERVICE, "NAME=VALUE", common=True, live=True)] = ()
    """Keyword argument for a class. Repeatable."""
    device: Annotated[tuple[str, ...], several(EXECUTORS, "DEVICE", common=True)] = ()
    """Torch device of a replica (cuda:0); given in turn. Repeatable."""


@FLAT
@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What the process writes to stderr."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], setting(LOGGING, common=True, live=True)
    ] = "info"
    """The least level that is written."""
    log_format: Annotated[Literal["text", "json"], setting(LOGGING)] = "text"
    """Lines of text, or a JSON object a line."""


@FLAT
@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """Who may have the process reload over HTTP."""

    control_token: Annotated[
        str | None, setting(WORKER, "TEXT", shown=False, secret=True, needs="health_port")
    ] = field(default=None, repr=False)
    """Token of those who may POST /reload to health-port. Set RPCB_CONTROL_TOKEN rather than the flag, which
    other users of the machine can see."""
    control_token_file: Annotated[str | None, setting(WORKER, "FILE", shown=False, needs="health_port")] = (
        None
    )
    """Or: a file that holds it, read for each of them."""


@FLAT
@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    """Where the process answers probes; all its workers share it."""

    health_port: Annotated[int | None, setting(WORKER, "PORT", bounds=PORT, shown="none", common=True)] = None
    """TCP port for /livez, /readyz and /metrics; 0 for any."""
    health_host: Annotated[str, setting(WORKER, "ADDRESS")] = "127.0.0.1"
    """Address for probes; 0.0.0.0 for all, as Kubernetes needs it."""


@FLAT
@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """What the process counts."""

    metrics: Annotated[
        bool | None,
        setting(
            WORKER,
            shown="yes, where health-port is set and prometheus_client is installed",
            needs="health_port",
        ),
    ] = None
    """Whether Prometheus finds metrics at /metrics of health-port."""
