"""What a reload changes in a process of workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from inspect import BoundArguments
from typing import Any, NamedTuple

import msgspec
import trio

from rpcb_trio._commands._logs import change_log_level
from rpcb_trio._commands._settings._broker import url_of
from rpcb_trio._commands._settings._changes import (
    NOT_SET,
    Change,
    Report,
    changes_between,
    live_of,
    with_live,
)
from rpcb_trio._commands._settings._file import WorkerTable
from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import LogSettings
from rpcb_trio._commands._settings._sources import Sources
from rpcb_trio._commands._settings._values import as_they_look
from rpcb_trio._commands.serve._ack_time import warn_of_long_holds
from rpcb_trio._commands.serve._asked import Asked, asked_of, naming
from rpcb_trio._commands.serve._setup import held, live_arguments, processes_of, topology
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._pipeline import Worker
from rpcb_trio._service import BoundService, check_version
from rpcb_trio.errors import RpcbError, SettingError

log = logging.getLogger("rpcb_trio")


OF_MODEL = ("option", "model_version")
"""Settings of the model, besides its target."""


class _Wanted(NamedTuple):
    """What is to be in force."""

    asked: Mapping[str, Asked]
    of_process: Mapping[type, Any]
    services: Mapping[str, BoundService]
    """Of the workers that get another model."""


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
        # A service that takes its time must not keep a process that has drained from its end.
        wanted = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        changes = [
            each for name in {**self._in_force, **wanted.asked} for each in self._changes(name, wanted.asked)
        ]
        for kind, table in wanted.of_process.items():
            changes += changes_between(None, self._of_process[kind], table)
        self._apply_to_process(wanted.of_process)
        changing = {each.worker for each in changes if each.outcome == "live"}
        for name in self._in_force.keys() & wanted.asked.keys() & changing:
            await self._change(name, wanted.asked[name])
        for name, service in wanted.services.items():
            if name in changing and (why := await self._swap(name, service, wanted.asked[name])) is not None:
                changes = [_failed(each, why) if _is_of_model(each, name) else each for each in changes]
        settings = len(declared(WorkerTable)) * len(self._in_force)
        settings += sum(len(declared(kind)) for kind in wanted.of_process)
        return Report(changes=tuple(changes), unchanged=settings - len(changes))

    def _read(self) -> _Wanted:
        given = self._sources.again()
        asked = _asked(given)
        if self._is_single and given.arguments.get("target") is not None:
            [name], [only] = self._in_force, asked.values()
            asked = {name: only}  # its queue is its name
        services = dict[str, BoundService]()
        for name, each in asked.items():
            with naming(name):
                _check(each.settings)
                if name in self._in_force and _model_of(each) != _model_of(self._in_force[name]):
                    options = as_they_look("option", each.settings.option)
                    services[name] = load_service(each.target, options, may_end=False)
        tables = _tables(given)
        check_partners(*tables.values())
        return _Wanted(asked, tables, services)

    def _changes(self, name: str, asked: Mapping[str, Asked]) -> Iterator[Change]:
        before, after = self._in_force.get(name), asked.get(name)
        if before is None or after is None:
            old, new = (each.target if each else NOT_SET for each in (before, after))
            yield Change(name, "target", old, new, "restart")
            return
        changes = list(changes_between(name, before.settings, after.settings))
        if before.target != after.target:
            changes.insert(0, Change(name, "target", before.target, after.target, "live"))
        if not _go_together(with_live(before.settings, after.settings)):  # only with others that can't change
            changes = [msgspec.structs.replace(each, outcome="restart") for each in changes]
        yield from changes

    async def _change(self, name: str, asked: Asked) -> None:
        """Change the limits of a worker."""
        target, before = self._in_force[name]
        after = replace(
            with_live(before, asked.settings), option=before.option, model_version=before.model_version
        )
        arguments = live_arguments(after, live_of(before, after))
        if arguments:
            await self._workers[name].change(**arguments)
        self._in_force[name] = Asked(target, after)
        if after != before:
            warn_of_long_holds(name, after, *held(after)[1:])

    async def _swap(self, name: str, service: BoundService, asked: Asked) -> str | None:
        """Put another model into a worker; returns why it could not be."""
        settings = with_live(self._in_force[name].settings, asked.settings)
        try:
            processes = processes_of(name, asked.target, settings)
            await self._workers[name].swap(
                service,
                version=settings.model_version,
                executors=processes,
                unload_first=settings.unload_first,
            )
        except RpcbError as error:
            return str(error)
        self._in_force[name] = Asked(asked.target, settings)
        return None

    def _apply_to_process(self, tables: Mapping[type, Any]) -> None:
        for kind, after in tables.items():
            if isinstance(after, LogSettings):
                self._of_process[kind] = change_log_level(self._of_process[kind], after)


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


def _check(settings: Settings) -> None:
    """Check what a start would refuse."""
    check_version("model_version", settings.model_version)
    held(settings)
    topology(settings)
    url_of(settings)


def _go_together(settings: Settings) -> bool:
    try:
        held(settings)
    except SettingError:
        return False
    return True


def _model_of(asked: Asked) -> tuple[object, ...]:
    """What a swap changes."""
    return (asked.target, *(getattr(asked.settings, each) for each in OF_MODEL))


def _is_of_model(change: Change, worker: str) -> bool:
    return change.worker == worker and change.setting in {"target", *OF_MODEL}


def _failed(change: Change, why: str) -> Change:
    return msgspec.structs.replace(change, outcome="failed", why=why)
