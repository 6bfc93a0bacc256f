"""What a reload changes in a process of workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from inspect import BoundArguments
from typing import Any

import msgspec
import trio

from rpcb_trio._commands._logs import set_log_level
from rpcb_trio._commands._settings._broker import url_of
from rpcb_trio._commands._settings._changes import (
    NOT_SET,
    Change,
    Report,
    changes_between,
    live_of,
    with_live,
)
from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import LogSettings
from rpcb_trio._commands._settings._sources import Sources
from rpcb_trio._commands.serve._ack_time import warn_of_long_holds
from rpcb_trio._commands.serve._asked import Asked, asked_of
from rpcb_trio._commands.serve._setup import held, live_arguments, topology
from rpcb_trio._pipeline import Worker
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")


class Reload:
    """Reads the settings again, and has the workers go by those that can change while they run.

    Args:
        given: the arguments of `serve`.
        workers: those that run, by name.
    """

    def __init__(self, given: BoundArguments, workers: Mapping[str, Worker]) -> None:
        self._sources: Sources = given.arguments["sources"]
        self._is_single = given.arguments.get("target") is not None
        self._in_force = _asked(given)
        self._of_process = _tables(given)
        self._workers = workers

    async def __call__(self) -> Report:
        """Change what can change, all of it or, where something is wrong, nothing.

        Raises:
            SettingError: something is wrong.
        """
        given, asked = await trio.to_thread.run_sync(self._read)
        of_process = _tables(given)
        changes = [each for name in {**self._in_force, **asked} for each in self._changes(name, asked)]
        for kind, table in of_process.items():
            changes += changes_between(None, self._of_process[kind], table)
        await self._apply(asked, changes)
        self._apply_to_process(of_process)
        settings = len(declared(Settings)) * len(self._in_force)
        settings += sum(len(declared(kind)) for kind in of_process)
        return Report(changes=tuple(changes), unchanged=settings - len(changes))

    def _read(self) -> tuple[BoundArguments, dict[str, Asked]]:
        given = self._sources.again()
        asked = _asked(given)
        for name, (_, settings) in asked.items():
            _check(name, settings)
        if self._is_single and given.arguments.get("target") is not None:
            [name], [only] = self._in_force, asked.values()
            asked = {name: only}  # its queue is its name
        return given, asked

    def _changes(self, name: str, asked: Mapping[str, Asked]) -> Iterator[Change]:
        before, after = self._in_force.get(name), asked.get(name)
        if before is None or after is None:
            old, new = (each.target if each else NOT_SET for each in (before, after))
            yield Change(name, "target", old, new, "restart")
            return
        if before.target != after.target:
            yield Change(name, "target", before.target, after.target, "restart")
        changes = list(changes_between(name, before.settings, after.settings))
        if not _go_together(with_live(before.settings, after.settings)):  # only with others that can't change
            changes = [msgspec.structs.replace(each, outcome="restart") for each in changes]
        yield from changes

    async def _apply(self, asked: Mapping[str, Asked], changes: list[Change]) -> None:
        changing = {each.worker for each in changes if each.outcome == "live"}
        for name in self._in_force.keys() & asked.keys() & changing:
            target, before = self._in_force[name]
            after = with_live(before, asked[name].settings)
            arguments = live_arguments(after, live_of(before, after))
            if arguments:
                await self._workers[name].change(**arguments)
            self._in_force[name] = Asked(target, after)
            warn_of_long_holds(name, after, *held(after)[1:])

    def _apply_to_process(self, tables: Mapping[type, Any]) -> None:
        for kind, after in tables.items():
            before = self._of_process[kind]
            self._of_process[kind] = in_force = with_live(before, after)
            if isinstance(in_force, LogSettings) and in_force != before:
                set_log_level(in_force.log_level)
                log.info("log_level changed from %s to %s", before.log_level, in_force.log_level)


def _asked(given: BoundArguments) -> dict[str, Asked]:
    """The workers that the arguments of `serve` ask for."""
    of_serve = given.arguments
    workers = of_serve.get("worker", ())
    return asked_of(of_serve.get("target"), of_serve["settings"], workers, of_serve["sources"])


def _tables(given: BoundArguments) -> dict[type, Any]:
    """The settings that all workers of a process share, by their kind."""
    return {
        type(each): each
        for each in given.arguments.values()
        if is_dataclass(each) and not isinstance(each, type | Settings)
    }


def _check(name: str, settings: Settings) -> None:
    """Check what a start would refuse.

    Raises:
        SettingError: the settings don't go together.
    """
    try:
        held(settings)
        topology(settings)
        url_of(settings)
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from error


def _go_together(settings: Settings) -> bool:
    try:
        held(settings)
    except SettingError:
        return False
    return True
