"""The command `tune`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import msgspec
import trio
from cyclopts import Parameter
from rich.console import Console

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._load_flags import Bodies, BodyFlags, Latency, ObjectiveFlags
from rpcb_trio._commands._outputs import OutputFlags, Outputs, progress_bar
from rpcb_trio._commands._settings._parameters import SERVICE, setting
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._shared import ConfigPath, ServiceSettings
from rpcb_trio._commands._settings._values import as_they_look
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._commands.tune._flags import ExpectedFlags, MeasureFlags, ScalingFlags
from rpcb_trio._commands.tune._keda import scaled_object
from rpcb_trio._commands.tune._questions import ask_demand, ask_objective
from rpcb_trio._commands.tune._report import Found, print_advice, print_measured, summary
from rpcb_trio._measure import (
    Advice,
    Demand,
    Objective,
    Prospect,
    Scaling,
    Setting,
    Survey,
    advise,
    check_scaling,
    latency_over_load,
    scale,
    sizes_up_to,
    survey,
)
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Target = Annotated[str | None, setting(SERVICE, help="What to measure, as serve takes it.", common=True)]


def tune(
    target: Target = None,
    *,
    config: ConfigPath = None,  # noqa: ARG001 - was read to fill in the other settings
    service: Annotated[ServiceSettings, Parameter(name="*")] = ServiceSettings(),
    given: Bodies = BodyFlags(),
    how: Annotated[MeasureFlags, Parameter(name="*")] = MeasureFlags(),
    load: Annotated[ExpectedFlags, Parameter(name="*")] = ExpectedFlags(),
    latency: Latency = ObjectiveFlags(),
    scaling: Annotated[ScalingFlags, Parameter(name="*")] = ScalingFlags(),
    outputs: Outputs = OutputFlags(),
) -> int:
    """Measure what batches of a service take on this machine, and recommend settings for a load.

    The service's own decode and infer run on bodies as they will come, in batches of several sizes. What was
    measured is then served in simulations by the worker's own policy. On a terminal it asks for the load and
    the objective.
    """
    if target is None:
        raise SettingError("TARGET is missing; name a service as module:attribute")
    check_partners(scaling)
    demand, objective = Demand(load.rate, load.callers), latency.read()
    if scaling.keda:
        check_scaling(demand, objective)
        if not scaling.queue:
            raise SettingError("--keda needs a queue; give --queue, RPCB_QUEUE, or queue in rpcb.toml")
    outputs = outputs.checked()
    bodies = given.read()
    bound = load_service(target, as_they_look("option", service.option))
    devices: Sequence[str | None] = service.device or [None]
    placed = [devices[number % len(devices)] for number in range(how.replicas)]
    console = Console(stderr=scaling.keda)
    surveyed = _survey(
        partial(survey, bound, bodies, placed, sizes_up_to(how.max_batch_size), seconds=how.seconds)
    )
    found = Found(target, surveyed.costs, surveyed.measured)
    print_measured(console, found)
    if sys.stdin.isatty() and not scaling.keda:
        demand = ask_demand() if demand == Demand() else demand
        objective = ask_objective() if demand != Demand() and objective == Objective() else objective
    if demand == Demand():
        console.print("Give --rate or --callers for a recommendation.")
    else:
        found = msgspec.structs.replace(found, demand=demand, objective=objective)
        found = _advised(found, load.requests, draws=outputs.plot is not None)
        if found.advice is not None:
            print_advice(console, found.advice, demand, objective)
    if scaling.keda and found.advice is not None:
        of_one = _scaled(found, found.advice, scaling.queue_seconds)
        sys.stdout.write(scaled_object(of_one, scaling.queue, scaling.deployment))
    outputs.write(summary(found), partial(_draw, found))
    return ExitCode.DONE


def _survey(surveying: Callable[..., Awaitable[Survey]]) -> Survey:
    with progress_bar() as progress:
        task = progress.add_task("warming up", total=1)

        def tell(share: float) -> None:
            progress.update(task, description="measuring", completed=share)

        return trio.run(partial(surveying, progress=tell))


def _advised(found: Found, requests: int, *, draws: bool) -> Found:
    """What follows for a load, by so many requests in each simulation."""
    settings = [Setting(size, each.replicas) for each in found.measured for size in each.sizes]
    with progress_bar() as progress:
        task = progress.add_task("simulating", total=None)
        laws = {each.replicas: each.law for each in found.measured}
        prospect = Prospect(laws, found.costs, requests, lambda: progress.advance(task))
        advice = advise(prospect, settings, found.demand, found.objective)
        shown = [advice.recommended, *advice.alternatives]
        curves = latency_over_load(prospect, shown, found.demand, found.objective) if draws else []
    return msgspec.structs.replace(found, advice=advice, curves=curves)


def _scaled(found: Found, advice: Advice, queue_seconds: float | None) -> Scaling:
    worker = advice.recommended
    [law] = [each.law for each in found.measured if each.replicas == worker.setting.replicas]
    return scale(worker, law, max(found.costs), found.demand, found.objective, queue_seconds=queue_seconds)


def _draw(found: Found) -> Figure:
    from rpcb_trio._commands._charts import draw_tuning  # noqa: PLC0415 - matplotlib is an extra, and slow

    cost, unit = fmean(found.costs), found.demand.unit
    return draw_tuning(found.measured, cost, found.curves, unit=unit, objective=found.objective)
