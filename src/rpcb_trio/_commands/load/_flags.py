"""The flags of `load`: which requests, how many, and what is wanted of the replies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group

from rpcb_trio._bounds import COUNT, NOT_NEGATIVE, Bounds
from rpcb_trio._commands._settings._parameters import RARE, flag
from rpcb_trio._commands._settings._values import SECONDS

REQUESTS = Group("Requests", sort_key=-3)
LOAD = Group("Load", sort_key=-1)
WANTED = Group("What is wanted", sort_key=0)

FINITE = Bounds(above=0, finite=True)


@dataclass(frozen=True, kw_only=True)
class BodyFlags:
    """What the requests are."""

    body: Annotated[tuple[Path, ...], flag(REQUESTS, metavar="FILE...", consume_multiple=True)] = ()
    """Files, each with the body of a request; requests are drawn from them at random."""
    field: Annotated[tuple[str, ...], flag(REQUESTS, metavar="NAME=VALUE")] = ()
    """Or: bodies are msgpack maps of these. NAME=@FILE takes a file's bytes; NAME=@PATTERN makes a request of
    each file that matches. Repeatable."""


@dataclass(frozen=True, kw_only=True)
class LoadFlags:
    """How they are sent."""

    callers: Annotated[int | None, flag(LOAD, metavar="N", bounds=COUNT)] = None
    """Closed loop: so many callers; each sends its next request when it has its reply."""
    rate: Annotated[float | None, flag(LOAD, metavar="RATE", bounds=FINITE)] = None
    """Open loop: requests per second at random times (Poisson), which wait for no reply. With --ramp: where
    to begin."""
    ramp: Annotated[bool, flag(LOAD, shown=False)] = False
    """Find the highest rate that meets --p99 or --mean: by doubling it, then by bisection. Each step lasts
    --seconds; let that be long against the objective."""
    seconds: Annotated[float | None, flag(LOAD, unit=SECONDS, bounds=FINITE, shown="10s")] = None
    """How long, after the warm-up."""
    requests: Annotated[int | None, flag(LOAD, metavar="N", bounds=COUNT)] = None
    """Or: how many, after the warm-up."""
    timeout: Annotated[float, flag(LOAD, unit=SECONDS, bounds=FINITE)] = 30.0
    """How long to wait for each reply."""
    warm_up: Annotated[float, flag(RARE, unit=SECONDS, bounds=NOT_NEGATIVE)] = 1.0
    """How long it runs before anything counts."""
    max_in_flight: Annotated[int, flag(RARE, metavar="N", bounds=COUNT)] = 1000
    """Open loop: with so many unanswered, what is due is not sent, and is an error."""
    connections: Annotated[int, flag(RARE, metavar="N", bounds=Bounds(least=1, most=100))] = 1
    """To the broker, used in turn."""
    seed: Annotated[int, flag(RARE, metavar="N")] = 0
    """Of arrival times and of which body comes next."""


@dataclass(frozen=True, kw_only=True)
class WantedFlags:
    """What is wanted of the replies."""

    p99: Annotated[float | None, flag(WANTED, unit=SECONDS, bounds=FINITE, shown=False)] = None
    """For --ramp: the latency that 99 % must not exceed."""
    mean: Annotated[float | None, flag(WANTED, unit=SECONDS, bounds=FINITE, shown=False)] = None
    """Or: what the mean latency must not exceed."""
    max_errors: Annotated[float, flag(RARE, metavar="SHARE", bounds=Bounds(least=0, most=1))] = 0.0
    """The largest share of errors; above it the command fails, or a step of --ramp."""
