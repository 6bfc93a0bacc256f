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

from rpcb_trio._commands._bodies import read_bodies
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._outputs import (
    JsonPath,
    PlotPath,
    check_outputs,
    progress_bar,
    write_json,
    write_plot,
)
from rpcb_trio._commands._settings._parameters import SERVICE, setting
from rpcb_trio._commands._settings._shared import ConfigPath, ServiceSettings
from rpcb_trio._commands._settings._values import as_they_look
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._commands.tune._flags import LoadFlags, MeasureFlags, RequestFlags
from rpcb_trio._commands.tune._questions import ask_demand, ask_objective
from rpcb_trio._commands.tune._report import Found, print_advice, print_measured, summary
from rpcb_trio._errors import SettingError
from rpcb_trio._measure import (
    Demand,
    Objective,
    Prospect,
    Setting,
    Survey,
    advise,
    latency_over_load,
    sizes_up_to,
    survey,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Target = Annotated[str | None, setting(SERVICE, help="What to measure, as serve takes it.", common=True)]


def tune(
    target: Target = None,
    *,
    config: ConfigPath = None,  # noqa: ARG001 - was read to fill in the other settings
    service: Annotated[ServiceSettings, Parameter(name="*")] = ServiceSettings(),
    given: Annotated[RequestFlags, Parameter(name="*")] = RequestFlags(),
    how: Annotated[MeasureFlags, Parameter(name="*")] = MeasureFlags(),
    load: Annotated[LoadFlags, Parameter(name="*")] = LoadFlags(),
    plot: PlotPath = None,
    json: JsonPath = None,
) -> int:
    """Measure what batches of a service take on this machine, and recommend settings for a load.

    The service's own decode and infer run on the bodies you give, warm, in batches of several sizes. What was
    measured, with its noise, is then served in simulations by the worker's own policy, in virtual time.
    On a terminal it asks for the load and the objective if they are not given.
    """
    if target is None:
        raise SettingError("TARGET is missing; name a service as module:attribute")
    if load.p99 is not None and load.mean is not None:
        raise SettingError("--p99 and --mean exclude each other; give one of them")
    check_outputs(plot, json)
    plot, json = plot and plot.absolute(), json and json.absolute()  # the service may change the directory
    bodies = read_bodies(given.body, given.bodies, given.field)
    bound = load_service(target, as_they_look("option", service.option))
    devices: Sequence[str | None] = service.device or [None]
    placed = [devices[number % len(devices)] for number in range(how.replicas)]
    console = Console()
    surveyed = _survey(
        partial(survey, bound, bodies, placed, sizes_up_to(how.max_batch_size), seconds=how.seconds)
    )
    found = Found(target, surveyed.costs, surveyed.measured)
    print_measured(console, found)
    found = _advised(console, found, load, draws=plot is not None)
    if json is not None:
        write_json(json, summary(found))
    if plot is not None:
        write_plot(plot, partial(_draw, found))
    return ExitCode.DONE


def _survey(surveying: Callable[..., Awaitable[Survey]]) -> Survey:
    with progress_bar() as progress:
        task = progress.add_task("warming up", total=1)

        def tell(share: float) -> None:
            progress.update(task, description="measuring", completed=share)

        return trio.run(partial(surveying, progress=tell))


def _advised(console: Console, found: Found, load: LoadFlags, *, draws: bool) -> Found:
    demand, objective = _wanted(load)
    if demand == Demand():
        console.print("Give --rate or --callers for a recommendation.")
        return found
    settings = [Setting(size, each.replicas) for each in found.measured for size in each.sizes]
    with progress_bar() as progress:
        task = progress.add_task("simulating", total=None)
        laws = {each.replicas: each.law for each in found.measured}
        prospect = Prospect(laws, found.costs, load.requests, lambda: progress.advance(task))
        advice = advise(prospect, settings, demand, objective)
        shown = [advice.recommended, *advice.alternatives]
        curves = latency_over_load(prospect, shown, demand, objective) if draws else []
    print_advice(console, advice, demand, objective)
    return msgspec.structs.replace(found, demand=demand, objective=objective, advice=advice, curves=curves)


def _wanted(load: LoadFlags) -> tuple[Demand, Objective]:
    """As it was given, or else as it is said on the terminal."""
    demand, objective = Demand(load.rate, load.callers), Objective(load.p99, load.mean)
    if sys.stdin.isatty():
        demand = ask_demand() if demand == Demand() else demand
        if demand != Demand() and objective == Objective():
            objective = ask_objective()
    return demand, objective


def _draw(found: Found) -> Figure:
    from rpcb_trio._commands._charts import draw_tuning  # noqa: PLC0415 - matplotlib is an extra, and slow

    cost, unit = fmean(found.costs), found.demand.unit
    return draw_tuning(found.measured, cost, found.curves, unit=unit, objective=found.objective)
