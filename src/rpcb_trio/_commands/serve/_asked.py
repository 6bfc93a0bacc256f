"""Which workers a process is to run, each with its target and its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rpcb_trio._commands._settings._anchored import anchored
from rpcb_trio._commands._settings._broker import shown_url
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._sources import Sources
from rpcb_trio.errors import SettingError


class Asked(NamedTuple):
    """One worker, as the settings have it."""

    target: str
    settings: Settings


@contextmanager
def naming(worker: str) -> Iterator[None]:
    """Begin what is wrong with the worker's name."""
    try:
        yield
    except SettingError as error:
        raise SettingError(f"{worker}: {error}") from error


def asked_of(
    target: str | None, settings: Settings, workers: Sequence[str], sources: Sources
) -> dict[str, Asked]:
    """The workers that the arguments of `serve` ask for, by their names.

    Raises:
        SettingError: there is none, or something that a worker needs is missing.
    """
    asked: Mapping[str, tuple[str | None, Settings]]
    if target is None:
        asked = _of_file(workers, sources)
        _refuse_shared_queues(asked)
    else:
        if workers:
            raise SettingError("give either TARGET or --worker; a worker's target is in the file")
        asked = {settings.queue: (target, settings)}
    return {name: _complete(name, *of_worker, sources) for name, of_worker in asked.items()}


def _of_file(workers: Sequence[str], sources: Sources) -> dict[str, tuple[str | None, Settings]]:
    names = sources.file.select(workers)
    if not names:
        raise SettingError(
            "TARGET is missing; name a service as module:attribute, or write [workers.NAME] into "
            f"{sources.file.name}"
        )
    return {name: sources.of_worker(Settings, name) for name in names}


def _refuse_shared_queues(asked: Mapping[str, tuple[str | None, Settings]]) -> None:
    """A queue that two services consume gives each of them the requests of the other."""
    takers: dict[tuple[str, str], tuple[str, str | None]] = {}
    for name, (target, settings) in asked.items():
        other, its_target = takers.setdefault((shown_url(settings), settings.queue), (name, target))
        if settings.queue and target != its_target:
            raise SettingError(
                f"{other} and {name} serve different targets from one queue, {settings.queue}, so each would "
                "get requests of the other; write a queue for each into its [workers.NAME] (--queue and "
                "RPCB_QUEUE hold for all)"
            )


def _complete(name: str, target: str | None, settings: Settings, sources: Sources) -> Asked:
    if target is None:
        raise SettingError(f"[workers.{name}] has no target; write target = 'module:attribute' into it")
    if not settings.queue:
        raise SettingError(
            f"{name or target}: queue is missing; give --queue, RPCB_QUEUE, or queue in rpcb.toml"
        )
    return Asked(target, anchored(settings, sources.origin.directory))
