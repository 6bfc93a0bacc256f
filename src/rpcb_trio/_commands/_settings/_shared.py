"""Settings that several commands have: the way to the broker, what a service is made with, the log."""

# No annotations from __future__: as strings, those that a subclass inherits would be looked up in its module.

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts.validators import Number

from rpcb_trio._commands._settings._parameters import (
    BROKER,
    EXECUTORS,
    FILE,
    LOGGING,
    SERVICE,
    seconds,
    setting,
    several,
    shown_as,
    whole,
)
from rpcb_trio._transports import LONGEST_HEARTBEAT

DEFAULT_URL = "amqp://guest:guest@localhost:5672/"

ConfigPath = Annotated[
    Path | None,
    setting(
        FILE,
        "CONFIG",
        "File of settings (TOML); its keys are the flags with underscores.",
        metavar="FILE",
        show_default=shown_as("rpcb.toml, if there is one"),
    ),
]


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """How to reach the broker."""

    url: Annotated[
        str, setting(BROKER, "URL", "AMQP URL of the broker; amqps:// for TLS.", metavar="URL")
    ] = DEFAULT_URL
    url_file: Annotated[
        str | None,
        setting(
            BROKER,
            "URL_FILE",
            "Or: a file that holds the URL. It is read for each connection, and every 30 s: a password that "
            "has changed is told to the broker.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None
    user: Annotated[
        str | None,
        setting(
            BROKER,
            "USER",
            "The broker's user, for a URL that names none.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None
    password: Annotated[
        str | None,
        setting(
            BROKER,
            "PASSWORD",
            "Its password, as it is, for a URL that has none. Give it as the variable, since others can see "
            "flags.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = field(default=None, repr=False)
    password_file: Annotated[
        str | None,
        setting(
            BROKER,
            "PASSWORD_FILE",
            "Or: a file that holds it, read as --url-file is.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None
    heartbeat: Annotated[
        int,
        whole(
            BROKER,
            "HEARTBEAT",
            "Heartbeat interval, whole seconds; 0 for none. A dead connection is noticed after three.",
            0,
            LONGEST_HEARTBEAT,
            metavar="SECONDS",
        ),
    ] = 15
    connect_timeout: Annotated[
        float,
        seconds(
            BROKER, "CONNECT_TIMEOUT", "How long one attempt to connect may take.", validator=Number(gt=0)
        ),
    ] = 10.0


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What a service is made with, and where it computes."""

    option: Annotated[
        tuple[str, ...],
        several(
            SERVICE,
            "OPTION",
            "Keyword argument for a TARGET that is a class, as recogniser=quartznet.",
            metavar="NAME=VALUE",
        ),
    ] = ()
    device: Annotated[
        tuple[str, ...],
        several(EXECUTORS, "DEVICE", "Torch device of a replica (cuda:0); given in turn.", metavar="DEVICE"),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What the process writes to stderr."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        setting(LOGGING, "LOG_LEVEL", "The least level that is written; debug tells of every batch."),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], setting(LOGGING, "LOG_FORMAT", "Lines of text, or a JSON object a line.")
    ] = "text"
