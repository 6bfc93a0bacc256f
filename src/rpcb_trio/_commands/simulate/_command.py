"""The command `simulate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from rich.console import Console

from rpcb_trio._bounds import COUNT, POSITIVE, Bounds
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._outputs import (
    JsonPath,
    PlotPath,
    check_outputs,
    progress_bar,
    write_json,
    write_plot,
)
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._values import SECONDS
from rpcb_trio._commands.serve._setup import policy_of
from rpcb_trio._commands.simulate._report import Replayed, print_replayed, replay_title, summary
from rpcb_trio._errors import SettingError
from rpcb_trio._measure import Recording, ServiceLaw, law_by_hand, recorded, replay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORDING = Group("Recording", sort_key=0)
POLICY = Group("Policy", sort_key=1)
DEVICE = Group("Device", sort_key=2)


FINITE = Bounds(above=0, finite=True)


def _flag(group: Group, text: str, metavar: str | None = None, **more: Any) -> Parameter:
    return flag(group, text, metavar, shown=False, **more)


def simulate(
    audit_file: Annotated[Path, flag(RECORDING, "What serve --audit wrote.")],
    /,
    *,
    worker: Annotated[
        str | None, _flag(RECORDING, "Whose part of the file; needed where several wrote it.", "NAME")
    ] = None,
    batching: Annotated[Literal["auto", "fixed"], flag(POLICY, "The policy, as serve takes it.")] = "auto",
    max_batch_size: Annotated[
        int | None,
        _flag(POLICY, "The most requests in one batch; without it, as recorded.", "N", bounds=COUNT),
    ] = None,
    max_wait: Annotated[
        float | None,
        _flag(
            POLICY,
            "For fixed: how long a batch waits to fill.",
            unit=SECONDS,
            bounds=Bounds(least=0, finite=True),
        ),
    ] = None,
    max_batch_cost: Annotated[
        float | None, _flag(POLICY, "The most padded cost of a batch.", "COST", bounds=POSITIVE)
    ] = None,
    latency_objective: Annotated[
        float | None,
        _flag(POLICY, "For auto: the latency to fill batches for.", unit=SECONDS, bounds=FINITE),
    ] = None,
    replicas: Annotated[
        int | None,
        _flag(
            DEVICE,
            "How many batches are computed at once, none slower for the others; without it, as recorded.",
            "N",
            bounds=COUNT,
        ),
    ] = None,
    fixed_seconds: Annotated[
        float | None,
        _flag(DEVICE, "What any batch takes; without it, as batches took when recorded.", unit=SECONDS),
    ] = None,
    per_cost_seconds: Annotated[
        float | None,
        _flag(
            DEVICE, "What each unit of padded cost adds: of its size times its largest cost.", unit=SECONDS
        ),
    ] = None,
    plot: PlotPath = None,
    json: JsonPath = None,
) -> int:
    """Replay an audit file under another policy, in virtual time.

    The requests come when they came when recorded, with their costs, priorities, deadlines and callers.
    Callers in lock step, who send when they are answered, would have come at other times under another
    policy; they are replayed as they came.
    """
    check_outputs(plot, json)
    recording = recorded(audit_file, worker)
    settings = Settings(
        batching=batching,
        max_batch_size=recording.max_batch_size if max_batch_size is None else max_batch_size,
        max_wait=max_wait,
        max_batch_cost=max_batch_cost,
        latency_objective=latency_objective,
        replicas=recording.replicas if replicas is None else replicas,
    )
    found = _replayed(recording, settings, _law(recording, fixed_seconds, per_cost_seconds))
    print_replayed(Console(), found)
    if json is not None:
        write_json(json, summary(found))
    if plot is not None:
        write_plot(plot, partial(_draw, found))
    return ExitCode.DONE


def _law(recording: Recording, fixed: float | None, per_cost: float | None) -> ServiceLaw:
    if fixed is None and per_cost is None:
        return recording.law()
    if fixed is None or per_cost is None:
        raise SettingError("--fixed-seconds and --per-cost-seconds belong together; give both or neither")
    return law_by_hand(fixed, per_cost)


def _replayed(recording: Recording, settings: Settings, law: ServiceLaw) -> Replayed:
    with progress_bar() as progress:
        progress.add_task("simulating", total=None)
        before, after = replay(recording, partial(policy_of, settings), law, settings.replicas)
    return Replayed(recording, settings, law, before, after)


def _draw(found: Replayed) -> Figure:
    from rpcb_trio._commands._charts import draw_replay  # noqa: PLC0415 - matplotlib is an extra, and slow

    return draw_replay(replay_title(found), found.recorded.latencies, found.simulated.latencies)
