"""The flags that `load` and `tune` share: the requests, and what their latency may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from rpcb_trio._bounds import FINITE
from rpcb_trio._commands._bodies import Body, read_bodies
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._values import SECONDS
from rpcb_trio._measure import Objective
from rpcb_trio.errors import SettingError

REQUESTS = Group("Requests", sort_key=-3)
LOAD = Group("Load", sort_key=-2)
OBJECTIVE = Group("Objective", sort_key=-1)


@dataclass(frozen=True, kw_only=True)
class BodyFlags:
    """The requests' bodies."""

    body: Annotated[
        tuple[Path, ...], flag(REQUESTS, metavar="FILE...", consume_multiple=True, shown=False)
    ] = ()
    """Files, each with the body of a request; drawn at random."""
    bodies: Annotated[Path | None, flag(REQUESTS, metavar="DIR")] = None
    """Or: a directory of such files."""
    field: Annotated[tuple[str, ...], flag(REQUESTS, metavar="NAME=VALUE", shown=False)] = ()
    """Or: a msgpack map of these. NAME=@FILE takes a file's bytes; NAME=@PATTERN makes a request of each
    match. Repeatable."""

    @property
    def is_given(self) -> bool:
        return bool(self.body or self.bodies or self.field)

    def read(self) -> dict[str, Body]:
        """The bodies by what they were read from.

        Raises:
            SettingError: they were given in no way or in two, or can't be read.
        """
        return read_bodies(self.body, self.bodies, self.field)


@dataclass(frozen=True, kw_only=True)
class ObjectiveFlags:
    """What is asked of the latency."""

    p99: Annotated[float | None, flag(OBJECTIVE, unit=SECONDS, bounds=FINITE, shown=False)] = None
    """The latency that 99 % of the requests must not exceed."""
    mean: Annotated[float | None, flag(OBJECTIVE, unit=SECONDS, bounds=FINITE, shown=False)] = None
    """Or: what the mean latency must not exceed."""

    def read(self) -> Objective:
        """The objective.

        Raises:
            SettingError: there are two.
        """
        if self.p99 is not None and self.mean is not None:
            raise SettingError("--p99 and --mean exclude each other; give one of them")
        return Objective(self.p99, self.mean)


Bodies = Annotated[BodyFlags, Parameter(name="*")]
Latency = Annotated[ObjectiveFlags, Parameter(name="*")]
