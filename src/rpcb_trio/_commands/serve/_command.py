"""The command `serve`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Annotated

import trio
from cyclopts import Parameter

from rpcb_trio._commands._apart import set_all_apart
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._logs import write_logs
from rpcb_trio._commands._metrics import counting
from rpcb_trio._commands._settings._anchored import anchored
from rpcb_trio._commands._settings._broker import shown_url
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import (
    ConfigPath,
    HealthSettings,
    LogSettings,
    MetricsSettings,
    Target,
    Workers,
)
from rpcb_trio._commands._settings._sources import Sources, warn_of_unknown_variables
from rpcb_trio._commands._settings._values import as_they_look
from rpcb_trio._commands._signals import Signals
from rpcb_trio._commands.serve._setup import Job, make_job
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._commands.serve._workers import run_jobs
from rpcb_trio.errors import SettingError
from rpcb_trio.health import open_health_port

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger("rpcb_trio")


def serve(
    target: Target = None,
    *,
    config: ConfigPath = None,  # noqa: ARG001 - `Sources` has read it
    worker: Workers = (),
    settings: Settings = Settings(),
    logs: LogSettings = LogSettings(),
    probes: HealthSettings = HealthSettings(),
    metrics: MetricsSettings = MetricsSettings(),
    sources: Annotated[Sources, Parameter(parse=False)],
) -> int:
    """Answer the requests of a queue in batches, until a signal comes.

    The first SIGTERM, SIGINT or SIGHUP drains, the second one stops at once.
    """
    write_logs(logs)
    warn_of_unknown_variables()
    signals = Signals()
    with ExitStack() as stack:
        try:
            asked = _asked(target, settings, worker, sources)
            its_settings = [each for _, each in asked.values()]
            registry = stack.enter_context(_counting(metrics.metrics, probes, its_settings))
            jobs = [_make_job(name, *of_worker, registry) for name, of_worker in asked.items()]
            signals.keep()
        except KeyboardInterrupt:
            signals.keep()
            log.info("stopped before anything was started")
            return ExitCode.DONE
        set_all_apart()
        return trio.run(_run, jobs, probes, registry, signals)


async def _run(
    jobs: Sequence[Job], probes: HealthSettings, registry: CollectorRegistry | None, signals: Signals
) -> int:
    """The health port is there before the first model is warm, until the last worker has ended."""
    if probes.health_port is None:
        return await run_jobs(jobs, signals)
    workers = [job.health for job in jobs]
    async with open_health_port(probes.health_port, workers, host=probes.health_host, metrics=registry):
        return await run_jobs(jobs, signals)


def _counting(
    metrics: bool | None,  # noqa: FBT001 - the setting
    probes: HealthSettings,
    workers: Sequence[Settings],
) -> AbstractContextManager[CollectorRegistry | None]:
    if probes.health_port is not None:
        return counting(metrics, processes=any(each.executor == "process" for each in workers))
    if metrics:
        raise SettingError("metrics has no port to be scraped at; set health_port, too, or leave metrics out")
    return nullcontext()


def _asked(
    target: str | None, settings: Settings, workers: Sequence[str], sources: Sources
) -> Mapping[str, tuple[str | None, Settings]]:
    """Target and settings of each worker, by its name."""
    if target is not None:
        if workers:
            raise SettingError("give either TARGET or --worker; a worker's target is in the file")
        return {settings.queue: (target, anchored(settings))}
    names = sources.file.select(workers)
    if not names:
        raise SettingError(
            "TARGET is missing; name a service as module:attribute, or write [workers.NAME] into "
            f"{sources.file.name}"
        )
    asked = {name: sources.of_worker(Settings, name) for name in names}
    asked = {name: (its_target, anchored(its_settings)) for name, (its_target, its_settings) in asked.items()}
    _refuse_shared_queues(asked)
    return asked


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


def _make_job(name: str, target: str | None, settings: Settings, registry: CollectorRegistry | None) -> Job:
    if target is None:
        raise SettingError(f"[workers.{name}] has no target; write target = 'module:attribute' into it")
    if not settings.queue:
        raise SettingError(
            f"{name or target}: queue is missing; give --queue, RPCB_QUEUE, or queue in rpcb.toml"
        )
    options = as_they_look("option", settings.option)
    job = make_job(name, target, load_service(target, options), settings, registry)
    if job.warning is not None:
        log.warning("%s: %s", name, job.warning)
    return job
