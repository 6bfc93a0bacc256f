"""The flags of `load`: which requests, how many, and what is wanted of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from rpcb_trio._commands._settings._parameters import FIELD_HELP, POSITIVE, flag

REQUESTS = Group("Requests", sort_key=-3)
LOAD = Group("Load", sort_key=-1)
WANTED = Group("What is wanted", sort_key=0)


def _unset(group: Group, text: str, metavar: str, **more: Any) -> Parameter:
    return flag(group, text, metavar, show_default=False, **more)


@dataclass(frozen=True, kw_only=True)
class BodyFlags:
    """What the requests are."""

    body: Annotated[
        tuple[Path, ...],
        _unset(
            REQUESTS,
            "Files, each with the body of a request; requests are drawn from them at random.",
            "FILE...",
            consume_multiple=True,
        ),
    ] = ()
    field: Annotated[
        tuple[str, ...],
        _unset(REQUESTS, FIELD_HELP, "NAME=VALUE"),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class LoadFlags:
    """How they are sent."""

    callers: Annotated[
        int | None,
        _unset(
            LOAD,
            "Closed loop: so many callers, each sends its next request when it has its reply.",
            "N",
            validator=Number(gte=1),
        ),
    ] = None
    rate: Annotated[
        float | None,
        _unset(
            LOAD,
            "Open loop: requests per second that come at random times (Poisson) and await nobody. "
            "With --ramp: where to begin.",
            "RATE",
            validator=POSITIVE,
        ),
    ] = None
    ramp: Annotated[
        bool,
        Parameter(
            group=LOAD,
            help="Find the highest rate that meets --p99 or --mean: by doubling it, then by bisection. Each "
            "step lasts --seconds; let that be long against the objective.",
            negative="",
            show_default=False,
        ),
    ] = False
    seconds: Annotated[
        float | None,
        _unset(LOAD, "How long, after the warm-up; 10 without --requests.", "SECONDS", validator=POSITIVE),
    ] = None
    requests: Annotated[
        int | None, _unset(LOAD, "Or: how many, after the warm-up.", "N", validator=Number(gte=1))
    ] = None
    warm_up: Annotated[
        float,
        flag(LOAD, "How long it runs before anything counts.", "SECONDS", validator=Number(gte=0)),
    ] = 1.0
    timeout: Annotated[
        float, flag(LOAD, "How long each reply is awaited.", "SECONDS", validator=POSITIVE)
    ] = 30.0
    max_in_flight: Annotated[
        int,
        flag(
            LOAD,
            "Open loop: with so many unanswered, what is due is not sent, and is an error.",
            "N",
            validator=Number(gte=1),
        ),
    ] = 1000
    connections: Annotated[
        int, flag(LOAD, "To the broker, used in turn.", "N", validator=Number(gte=1, lte=100))
    ] = 1
    seed: Annotated[int, flag(LOAD, "Of arrival times and of which body comes next.", "N")] = 0


@dataclass(frozen=True, kw_only=True)
class WantedFlags:
    """What is wanted of the answers."""

    p99: Annotated[
        float | None,
        _unset(WANTED, "For --ramp: the latency that 99 % shall not exceed.", "SECONDS", validator=POSITIVE),
    ] = None
    mean: Annotated[
        float | None,
        _unset(WANTED, "Or: what the mean latency shall not exceed.", "SECONDS", validator=POSITIVE),
    ] = None
    max_errors: Annotated[
        float,
        flag(
            WANTED,
            "The share of errors that is borne; above it the command fails, or a step of --ramp.",
            "SHARE",
            validator=Number(gte=0, lte=1),
        ),
    ] = 0.0
