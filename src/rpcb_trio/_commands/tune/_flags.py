"""The flags of `tune`: of which requests, and for which load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from rpcb_trio._commands._settings._parameters import FIELD_HELP, POSITIVE, flag

REQUESTS = Group("Requests", sort_key=1)
MEASURING = Group("Measuring", sort_key=2)
EXPECTED = Group("Expected load, and what is wanted", sort_key=8)

MOST = 1024
"""The largest batch that can be measured."""


def _given(text: str, metavar: str, **more: Any) -> Parameter:
    return flag(REQUESTS, text, metavar, show_default=False, **more)


def _asked(text: str, metavar: str, validator: Number) -> Parameter:
    return flag(EXPECTED, text, metavar, validator=validator, show_default=False)


MaxBatchSize = Annotated[
    int, flag(MEASURING, "The largest batch to measure.", "N", validator=Number(gte=1, lte=MOST))
]
Replicas = Annotated[
    int,
    flag(
        MEASURING,
        "Try up to so many executors, too. They share the machine, so each number of them is measured at "
        "work together.",
        "N",
        validator=Number(gte=1),
    ),
]
Seconds = Annotated[
    float, flag(MEASURING, "How long to measure, once all is warm.", "SECONDS", validator=POSITIVE)
]


@dataclass(frozen=True, kw_only=True)
class RequestFlags:
    """What the batches are made of."""

    body: Annotated[
        tuple[Path, ...],
        _given(
            "Files, each with the body of a request. Take such as will come, short ones and long ones.",
            "FILE...",
            consume_multiple=True,
        ),
    ] = ()
    bodies: Annotated[Path | None, _given("Or: a directory of such files.", "DIR")] = None
    field: Annotated[
        tuple[str, ...],
        _given(FIELD_HELP, "NAME=VALUE"),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class LoadFlags:
    """What is expected to come, and what is wanted of the answers."""

    rate: Annotated[
        float | None, _asked("Requests per second that come at random times.", "RATE", POSITIVE)
    ] = None
    callers: Annotated[
        int | None,
        _asked(
            "Callers in lock step: each sends its next request when it has its reply.", "N", Number(gte=1)
        ),
    ] = None
    p99: Annotated[
        float | None, _asked("The latency that 99 % of the requests shall not exceed.", "SECONDS", POSITIVE)
    ] = None
    mean: Annotated[
        float | None, _asked("Or: what the mean latency shall not exceed.", "SECONDS", POSITIVE)
    ] = None
    requests: Annotated[
        int, flag(EXPECTED, "How many requests each simulation has.", "N", validator=Number(gte=100))
    ] = 2000
