"""The command `serve`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated

import trio
from cyclopts import Parameter

from rpcb_trio._commands._apart import set_all_apart
from rpcb_trio._commands._control import open_control_socket
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._logs import write_logs
from rpcb_trio._commands._metrics import counting
from rpcb_trio._commands._reloading import Reloading
from rpcb_trio._commands._settings._anchored import anchored
from rpcb_trio._commands._settings._control import token_of
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import (
    ConfigPath,
    ControlSettings,
    HealthSettings,
    LogSettings,
    MetricsSettings,
    Target,
    Workers,
)
from rpcb_trio._commands._settings._sources import Sources, warn_of_unknown_variables
from rpcb_trio._commands._settings._values import as_they_look
from rpcb_trio._commands._signals import Signals
from rpcb_trio._commands.serve._ack_time import warn_of_long_holds
from rpcb_trio._commands.serve._asked import Asked, asked_of, naming
from rpcb_trio._commands.serve._reload import Reload
from rpcb_trio._commands.serve._setup import Job, held, make_job
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._commands.serve._workers import RunningJobs
from rpcb_trio.health import Control, open_health_port

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
    control: ControlSettings = ControlSettings(),
    sources: Annotated[Sources, Parameter(parse=False)],
) -> int:
    """Answer the requests of a queue in batches, until a signal comes.

    The first SIGTERM or SIGINT drains, the second one stops at once. SIGHUP reads the settings again.
    """
    write_logs(logs)
    warn_of_unknown_variables()
    signals = Signals()
    with ExitStack() as stack:
        try:
            check_partners(probes, metrics, control)
            asked = asked_of(target, settings, worker, sources)
            token = _token(control)
            its_settings = [each.settings for each in asked.values()]
            registry = stack.enter_context(_counting(metrics.metrics, probes, its_settings))
            jobs = _make_jobs(asked, registry)
            signals.keep()
        except KeyboardInterrupt:
            signals.keep()
            log.info("stopped before anything was started")
            return ExitCode.DONE
        set_all_apart()
        return trio.run(_run, jobs, probes, token, registry, sources, signals)


async def _run(  # noqa: PLR0917 - all that is served
    jobs: Sequence[Job],
    probes: HealthSettings,
    token: Callable[[], str | None] | None,
    registry: CollectorRegistry | None,
    sources: Sources,
    signals: Signals,
) -> int:
    """The health port is there before the first model is warm, until the last worker has ended."""
    workers = RunningJobs(jobs)
    reloading = Reloading(Reload(sources.given, workers.by_name), workers)
    async with AsyncExitStack() as stack:
        if probes.health_port is not None:
            health = [job.health for job in jobs]
            control = None if token is None else Control(token, reloading.report)
            await stack.enter_async_context(
                open_health_port(
                    probes.health_port, health, host=probes.health_host, metrics=registry, control=control
                )
            )
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(reloading.run)
        await stack.enter_async_context(open_control_socket(reloading))
        code = await workers.run(signals, reloading.ask)
        nursery.cancel_scope.cancel()
    return code


def _counting(
    metrics: bool | None,  # noqa: FBT001 - the setting
    probes: HealthSettings,
    workers: Sequence[Settings],
) -> AbstractContextManager[CollectorRegistry | None]:
    if probes.health_port is not None:
        return counting(metrics, processes=any(each.executor == "process" for each in workers))
    return nullcontext()


def _token(control: ControlSettings) -> Callable[[], str | None] | None:
    """Returns the token that has the process reload over HTTP; None where none is set."""
    token = partial(token_of, anchored(control))
    return None if token() is None else token


def _make_jobs(asked: Mapping[str, Asked], registry: CollectorRegistry | None) -> list[Job]:
    jobs = list[Job]()
    for name, of_worker in asked.items():
        with naming(name) if len(asked) > 1 else nullcontext():
            jobs.append(_make_job(name, *of_worker, registry))
    return jobs


def _make_job(name: str, target: str, settings: Settings, registry: CollectorRegistry | None) -> Job:
    options = as_they_look("option", settings.option)
    job = make_job(name, target, load_service(target, options), settings, registry)
    warn_of_long_holds(name, settings, *held(settings)[1:])
    return job
