"""From settings to a worker: the one place where each setting meets what it sets."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rpcb_trio._batching import AutoPolicy, FixedPolicy, Policy
from rpcb_trio._cache import Cache
from rpcb_trio._commands._metrics import counting_for
from rpcb_trio._commands._settings._broker import shown_url, transport
from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._values import SECONDS, as_they_look, read_number
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._events import EventInstrument, publish_events
from rpcb_trio._executors import ProcessExecutor
from rpcb_trio._instruments import (
    AuditInstrument,
    HealthInstrument,
    Instrument,
    LogInstrument,
    new_start,
    tracing_if_on,
)
from rpcb_trio._pipeline import LiveSettings, checked_intake, serve
from rpcb_trio._service import BoundService, bind_again
from rpcb_trio._shares import Shares
from rpcb_trio._transports import Topology
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger("rpcb_trio")

OF_SERVE = declared(Settings).keys() & signature(serve).parameters.keys() - {"queue", "batching", "cache"}
LIVE_OF_SERVE = OF_SERVE & LiveSettings.__annotations__.keys()
OF_CACHE = frozenset({"cache", "cache_max_bytes", "cache_header"})
"""Settings that the cache is made of."""
OF_TOPOLOGY = declared(Settings).keys() & signature(Topology).parameters.keys()
"""Settings that are arguments of the same name."""
OF_POLICY = frozenset(
    {"batching", "max_batch_size", "max_wait", "latency_objective", "max_batch_cost", "batch_size"}
)
"""Settings that a policy is made of."""


@dataclass(kw_only=True)
class Job:
    """One worker, ready to be started: its line for the log, and `serve` with all its arguments."""

    name: str
    line: str
    start: Callable[..., Any]
    health: HealthInstrument = field(default_factory=HealthInstrument)
    publishing: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """Publishes its events from before its start until after its end."""

    def taken(self) -> Callable[..., Any]:
        """`start`, which is forgotten here: it would keep the model, though another took its place."""
        start, self.start = self.start, _started
        return start


def _started() -> None:
    raise AssertionError("a job is started once")


def make_job(
    name: str,
    target: str,
    service: BoundService,
    settings: Settings,
    registry: CollectorRegistry | None = None,
) -> Job:
    """Check and assemble what one worker is started with; it counts for `registry`, if there is one.

    Raises:
        SettingError: the settings don't go together.
    """
    shares = shares_of(settings)
    policy, executors, prefetch = held(settings)
    processes = processes_of(name, target, settings)
    health = HealthInstrument(name)
    broker = transport(settings, name=name)
    start = new_start()
    instruments: list[Instrument] = [
        *tracing_if_on(),
        LogInstrument(name),
        health,
        *counting_for(registry),
    ]
    if settings.audit is not None:
        instruments.append(AuditInstrument(settings.audit, name, start=start, shares=shares))
    publishing = Job.publishing
    if settings.events is not None:
        events = EventInstrument(name, device=", ".join(settings.device) or None, start=start)
        instruments.append(events)
        publishing = partial(publish_events, broker, _events_exchange(settings.events, settings), events)
    arguments = {each: getattr(settings, each) for each in OF_SERVE} | {
        "batching": policy,
        "shares": shares,
        "cache": cache_of(settings),
        "devices": settings.device,
        "executors": processes,
        "infer_timeout": None if processes else settings.infer_timeout,
        "journal": journal_of(name, settings),
        "journal_required": bool(settings.journal),
        "instruments": instruments,
    }
    return Job(
        name=name,
        health=health,
        publishing=publishing,
        line=f"{name}: serving {target} from queue {settings.queue} of {shown_url(settings)}: "
        f"prefetch {prefetch}, max batch {policy.max_batch_size}, {_batching_line(settings)}, "
        f"{executors} replica(s)",
        start=partial(serve, service, broker, topology(settings), **arguments),
    )


def held(settings: Settings) -> tuple[Policy, int, int]:
    """The policy, how many executors there are, and how many requests are held at most.

    Raises:
        SettingError: the settings don't go together.
    """
    check_partners(settings)
    policy = policy_of(settings)
    cache_of(settings)
    executors = _executors(settings)
    prefetch, _ = checked_intake(
        settings.prefetch,
        settings.max_pending,
        shares_of(settings),
        max_batch_size=policy.max_batch_size,
        executors=executors,
    )
    return policy, executors, prefetch


def _executors(settings: Settings) -> int:
    return max(settings.replicas, len(settings.device))


def shares_of(settings: Settings) -> Shares | None:
    """Whose requests they are, where tenants share the worker.

    Raises:
        SettingError: a weight is wrong.
    """
    if settings.tenant is None:
        return None
    weights = dict[str, float]()
    for name, weight in map(_weight, settings.weight):
        if name in weights:
            raise SettingError(f"weight of {name!r} is set twice; leave one out")
        weights[name] = weight
    return Shares(settings.tenant, weights)


def cache_of(settings: Settings) -> Cache | None:
    """What replies are kept for equal requests; None for what the service itself says."""
    if settings.cache is None:
        return None
    return Cache(settings.cache, settings.cache_max_bytes, settings.cache_header)


def _weight(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        weight = read_number(number)
    except ValueError:
        weight = math.nan
    if not name or math.isnan(weight):
        raise SettingError(f"weight is {text}; write it as TENANT=N, as in gold=3")
    return name, weight


def policy_of(settings: Settings) -> Policy:
    """The policy that forms the batches.

    Raises:
        SettingError: the settings don't go together.
    """
    max_batch_cost = math.inf if settings.max_batch_cost is None else settings.max_batch_cost
    if settings.batching == "fixed":
        return FixedPolicy(settings.max_batch_size, settings.max_wait or 0.0, max_batch_cost=max_batch_cost)
    return AutoPolicy(
        settings.max_batch_size,
        max_batch_cost=max_batch_cost,
        batch_sizes=settings.batch_size,
        latency_objective=settings.latency_objective,
    )


def live_arguments(settings: Settings, changed: Collection[str]) -> LiveSettings:
    """What `Worker.change` takes for the settings that have changed."""
    arguments = {each: getattr(settings, each) for each in changed if each in LIVE_OF_SERVE}
    if OF_POLICY.intersection(changed):
        arguments["batching"] = policy_of(settings)
    if OF_CACHE.intersection(changed):
        arguments["cache"] = cache_of(settings)
    if "weight" in changed:
        arguments["shares"] = shares_of(settings)
    return cast("LiveSettings", arguments)  # of the same names


def topology(settings: Settings) -> Topology:
    """What to consume from and what to declare.

    Raises:
        SettingError: the settings don't go together.
    """
    return Topology(
        **{each: getattr(settings, each) for each in OF_TOPOLOGY},
        routing_keys=settings.routing_key,
        arguments=as_they_look("queue_argument", settings.queue_argument),
    )


def journal_of(name: str, settings: Settings) -> Path | None:
    """The directory of the journal; None, with a line in the log, where there is no home to put it."""
    if settings.journal:
        return None if settings.journal == "off" else Path(settings.journal)
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        if not state.is_absolute():  # as the standard has it
            state = Path.home() / ".local" / "state"
        return state / "rpcb-trio"
    except RuntimeError as error:  # there is no home
        log.warning(
            "%s: there is no journal (%s), so a request that kills its worker is not found out; set journal "
            "to a directory that is yours, or to off",
            name,
            error,
        )
        return None


def _batching_line(settings: Settings) -> str:
    if settings.batching == "fixed":
        return f"fixed batching with a max wait of {SECONDS.show(settings.max_wait or 0.0)}"
    if settings.latency_objective is not None:
        return f"auto batching for a latency of {SECONDS.show(settings.latency_objective)}"
    return "auto batching"


def processes_of(name: str, target: str, settings: Settings) -> list[ProcessExecutor] | None:
    """Executors that each make a service of their own, as this process has made one; None for threads.

    Raises:
        SettingError: a limit is wrong.
    """
    if settings.executor != "process":
        return None
    return [
        ProcessExecutor(
            partial(load_service, target, as_they_look("option", settings.option), bind_again, may_end=False),
            device=settings.device[number % len(settings.device)] if settings.device else None,
            name=f"{name}-{number}",
            infer_timeout=settings.infer_timeout,
            warm_up_timeout=settings.warm_up_timeout,
            max_deaths=settings.max_deaths,
            max_batches=settings.max_batches,
            max_memory=settings.max_memory,
        )
        for number in range(_executors(settings))
    ]


def _events_exchange(exchange: str, settings: Settings) -> str:
    if exchange and exchange == settings.exchange:
        raise SettingError(
            f"events is {exchange!r}, the exchange that requests come from, so events could become requests; "
            "name another one"
        )
    return exchange
