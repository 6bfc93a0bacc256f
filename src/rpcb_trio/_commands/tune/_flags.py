"""The flags of `tune`: of which requests, and for which load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group

from rpcb_trio._bounds import COUNT, Bounds
from rpcb_trio._commands._settings._parameters import RARE, flag
from rpcb_trio._commands._settings._values import SECONDS

REQUESTS = Group("Requests", sort_key=1)
MEASURING = Group("Measuring", sort_key=2)
EXPECTED = Group("Expected load, and what is wanted", sort_key=8)

FINITE = Bounds(above=0, finite=True)
MOST = 1024
"""The largest batch that can be measured."""


@dataclass(frozen=True, kw_only=True)
class RequestFlags:
    """What the batches are made of."""

    body: Annotated[tuple[Path, ...], flag(REQUESTS, metavar="FILE...", consume_multiple=True)] = ()
    """Files, each with the body of a request. Take such as will come, short ones and long ones."""
    bodies: Annotated[Path | None, flag(REQUESTS, metavar="DIR")] = None
    """Or: a directory of such files."""
    field: Annotated[tuple[str, ...], flag(REQUESTS, metavar="NAME=VALUE")] = ()
    """Or: bodies are msgpack maps of these. NAME=@FILE takes a file's bytes; NAME=@PATTERN makes a request of
    each file that matches. Repeatable."""


@dataclass(frozen=True, kw_only=True)
class MeasureFlags:
    """How it is measured."""

    max_batch_size: Annotated[int, flag(MEASURING, metavar="N", bounds=Bounds(least=1, most=MOST))] = 32
    """The largest batch to measure."""
    replicas: Annotated[int, flag(MEASURING, metavar="N", bounds=COUNT)] = 1
    """Try up to so many executors, too. They share the machine, so each number of them is measured at work
    together."""
    seconds: Annotated[float, flag(MEASURING, unit=SECONDS, bounds=FINITE)] = 30.0
    """How long to measure, once all is warm."""


@dataclass(frozen=True, kw_only=True)
class LoadFlags:
    """What is expected to come, and what is wanted of the replies."""

    rate: Annotated[float | None, flag(EXPECTED, metavar="RATE", bounds=FINITE)] = None
    """Requests per second that come at random times."""
    callers: Annotated[int | None, flag(EXPECTED, metavar="N", bounds=COUNT)] = None
    """Callers in lock step: each sends its next request when it has its reply."""
    p99: Annotated[float | None, flag(EXPECTED, unit=SECONDS, bounds=FINITE, shown=False)] = None
    """The latency that 99 % of the requests must not exceed."""
    mean: Annotated[float | None, flag(EXPECTED, unit=SECONDS, bounds=FINITE, shown=False)] = None
    """Or: what the mean latency must not exceed."""
    requests: Annotated[int, flag(RARE, metavar="N", bounds=Bounds(least=100))] = 2000
    """How many requests each simulation has."""
