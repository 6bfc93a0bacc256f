"""The flags of `load` alone: how many requests it sends, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rpcb_trio._bounds import COUNT, FINITE, NOT_NEGATIVE, Bounds
from rpcb_trio._commands._load_flags import LOAD
from rpcb_trio._commands._settings._parameters import RARE, flag
from rpcb_trio._commands._settings._values import SECONDS


@dataclass(frozen=True, kw_only=True)
class LoadFlags:
    """How they are sent."""

    callers: Annotated[int | None, flag(LOAD, metavar="N", bounds=COUNT)] = None
    """Closed loop: each caller sends its next request when it has its reply."""
    rate: Annotated[float | None, flag(LOAD, metavar="RATE", bounds=FINITE)] = None
    """Open loop: requests per second at random times (Poisson), which wait for no reply. With --ramp: where
    to begin."""
    ramp: Annotated[bool, flag(LOAD, shown=False)] = False
    """Find the highest rate that meets --p99 or --mean. Each step lasts --seconds; let that be long against
    the objective."""
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
    max_errors: Annotated[float, flag(RARE, metavar="SHARE", bounds=Bounds(least=0, most=1))] = 0.0
    """The largest share of errors; above it the command fails, or a step of --ramp."""
