"""The flags of `tune` alone: how it measures, and the load that is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group

from rpcb_trio._bounds import COUNT, FINITE, Bounds
from rpcb_trio._commands._load_flags import LOAD
from rpcb_trio._commands._settings._parameters import RARE, flag, setting
from rpcb_trio._commands._settings._values import SECONDS

MEASURING = Group("Measuring", sort_key=2)

MOST = 1024
"""The largest batch that can be measured."""


@dataclass(frozen=True, kw_only=True)
class MeasureFlags:
    """How it is measured."""

    max_batch_size: Annotated[int, flag(MEASURING, metavar="N", bounds=Bounds(least=1, most=MOST))] = 32
    """The largest batch to measure."""
    replicas: Annotated[int, flag(MEASURING, metavar="N", bounds=COUNT)] = 1
    """Try up to so many executors, measured while they compute together."""
    seconds: Annotated[float, flag(MEASURING, unit=SECONDS, bounds=FINITE)] = 30.0
    """How long to measure, once all is warm."""


@dataclass(frozen=True, kw_only=True)
class ExpectedFlags:
    """The load that is expected."""

    rate: Annotated[float | None, flag(LOAD, metavar="RATE", bounds=FINITE)] = None
    """Requests per second that come at random times."""
    callers: Annotated[int | None, flag(LOAD, metavar="N", bounds=COUNT)] = None
    """Callers in lock step: each sends again when it has its reply."""
    requests: Annotated[int, flag(RARE, metavar="N", bounds=Bounds(least=100))] = 2000
    """How many requests each simulation has."""


@dataclass(frozen=True, kw_only=True)
class ScalingFlags:
    """Many workers, as the load needs them."""

    keda: Annotated[bool, flag(LOAD, shown=False)] = False
    """Print a ScaledObject for KEDA; --rate is that of all workers."""
    queue: Annotated[str, setting(RARE, "NAME", shown=False)] = ""
    """The workers' queue, for --keda."""
    deployment: Annotated[str, flag(RARE, metavar="NAME", needs="keda")] = "rpcb-worker"
    """The Deployment of the workers, for --keda."""
    queue_seconds: Annotated[
        float | None,
        flag(RARE, unit=SECONDS, bounds=FINITE, shown="10s, or what its prefetch needs", needs="keda"),
    ] = None
    """How long a worker may need for its part of the queue, before one more is started."""
